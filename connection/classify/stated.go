package classify

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"portcullis.dev/portcullis/connection"
)

// Stated are the tags in the comments and security labels of a table and its
// columns. In a comment they stand in a line that begins with "tags:", or in
// brackets anywhere, "[tags: A, B.C]"; the label of the provider "portcullis" is
// a list of tags, labels of other providers are searched like comments.
func Stated(o connection.Object) []Proposal {
	out := stated("", o.Comment, o.Labels)
	for _, c := range o.Columns {
		out = append(out, stated(c.Name, c.Comment, c.Labels)...)
	}
	return merge(out)
}

func stated(column, comment string, labels []string) []Proposal {
	var out []Proposal
	for _, tag := range tagsIn(comment) {
		out = append(out, Proposal{Column: column, Tag: tag, Confidence: 1, Basis: []Basis{Comment}, Reason: "its comment says so"})
	}
	for _, l := range labels {
		provider, label, _ := strings.Cut(l, "=")
		tags := tagsIn(label)
		if provider == "portcullis" && len(tags) == 0 {
			tags = tagList(label)
		}
		for _, tag := range tags {
			out = append(out, Proposal{Column: column, Tag: tag, Confidence: 1, Basis: []Basis{Label}, Reason: "its security label says so"})
		}
		if provider == "anon" && strings.HasPrefix(strings.ToUpper(label), "MASKED") {
			out = append(out, Proposal{Column: column, Tag: "PII", Confidence: 0.8, Basis: []Basis{Label},
				Reason: "a security label has PostgreSQL Anonymizer mask it"})
		}
	}
	return out
}

var tagsForm = regexp.MustCompile(`(?im)^[ \t]*tags?:(.*)$|\[tags?:([^\]\n]*)\]`)

func tagsIn(text string) []string {
	var out []string
	for _, m := range tagsForm.FindAllStringSubmatch(text, -1) {
		out = append(out, tagList(m[1]+m[2])...)
	}
	return unique(out)
}

// tagList splits at commas and keeps what can be a tag: parts with a dot
// between, of letters, digits, spaces, _ and -, at most 256 bytes.
func tagList(text string) []string {
	var out []string
	for tag := range strings.SplitSeq(text, ",") {
		if tag = strings.TrimSpace(tag); isTag(tag) {
			out = append(out, tag)
		}
	}
	return unique(out)
}

func isTag(tag string) bool {
	if len(tag) > 256 {
		return false
	}
	for part := range strings.SplitSeq(tag, ".") {
		if part == "" || strings.TrimSpace(part) != part {
			return false
		}
		for _, r := range part {
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && !strings.ContainsRune(" _-", r) {
				return false
			}
		}
	}
	return true
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
