package policy

import "strings"

// anyTagDepth returns the depth (number of parts) of tag if one of the tags
// is it or lies below it, else 0.
func anyTagDepth(tags []string, tag string) int {
	if tag == "" {
		return 0
	}
	for _, have := range tags {
		if have == tag || strings.HasPrefix(have, tag+".") {
			return 1 + strings.Count(tag, ".")
		}
	}
	return 0
}

// nameDepth ranks a column chosen by its name above every tag.
const nameDepth = 1 << 20

// depth is how specifically a mask chooses the column; 0: not at all.
func (p *Policy) depth(col TaggedColumn) int {
	for _, n := range p.Columns.Names {
		if col.isNamed(p.ID, n) {
			return nameDepth
		}
	}
	deepest := 0
	for _, t := range p.Columns.Tags {
		deepest = max(deepest, anyTagDepth(col.Tags, t))
	}
	return deepest
}
