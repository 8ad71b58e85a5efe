package fdw

// What differs between PostgreSQL's major versions in nodeToString text.
// Up to 15 outfuncs.c was written by hand and shortened some tags; from 16 on
// it is generated and the tag is the upper-cased name of the struct. Field
// names are the same from 15 to 18; fields that we do not read came and went
// (varnullingrels in 16, varreturningtype in 18).
var longTag = map[string]string{
	"CASE":       "CASEEXPR",
	"WHEN":       "CASEWHEN",
	"CASETEST":   "CASETESTEXPR",
	"COALESCE":   "COALESCEEXPR",
	"MINMAX":     "MINMAXEXPR",
	"COLLATE":    "COLLATEEXPR",
	"ARRAY":      "ARRAYEXPR",
	"ROW":        "ROWEXPR",
	"ROWCOMPARE": "ROWCOMPAREEXPR",
}

// canonicalTag is the tag as PostgreSQL 16 and later print it.
func canonicalTag(tag string) string {
	if long, ok := longTag[tag]; ok {
		return long
	}
	return tag
}
