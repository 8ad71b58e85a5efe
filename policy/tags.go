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

// depth is how specifically the choice names the column; 0: not at all.
func (c ColumnChoice) depth(col TaggedColumn) int {
	for _, n := range c.Names {
		if n == col.Name {
			return nameDepth
		}
	}
	deepest := 0
	for _, t := range c.Tags {
		deepest = max(deepest, anyTagDepth(col.Tags, t))
	}
	return deepest
}
