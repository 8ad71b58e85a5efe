package fdw

import (
	"slices"
	"strings"
	"testing"

	"portcullis.dev/portcullis/policy"
)

type oneRow map[int]string

func (r oneRow) Int64(column int) (int64, bool) { return int64(len(r[column])), r[column] != "" }
func (r oneRow) Text(column int) (string, bool) { return r[column], r[column] != "" }

func TestStatementsOfPages(t *testing.T) {
	key := &PageKey{Columns: []PageColumn{{Name: "a`b"}, {Name: "u", Wide: true}, {Name: "id"}}}
	s, err := Compose(mariadb{}, ScanRequest{Table: sampleTable(), Wanted: []int32{5, 1}, Limit: -1, QueryID: 1, Page: key,
		Decision: decision(filterOn("id", "<", "integer", "7"), map[string]policy.Mask{"s": {Kind: policy.MaskNull}})})
	if err != nil {
		t.Fatal(err)
	}
	const list = "SELECT /* portcullis query=1 */ `id`, `a``b`, CAST(`u` AS CHAR)"
	const from, order = " FROM `t` FORCE INDEX (PRIMARY) WHERE (`id` < CAST(? AS SIGNED))", " ORDER BY `a``b`, `u`, `id` LIMIT 9"
	if got, want := s.Pages.PageSQL(true, 9), list+from+order; without(got) != want {
		t.Errorf("the first page is\n%s, want\n%s", without(got), want)
	}
	if got, want := s.Pages.PageSQL(false, 9), list+from+" AND (`a``b` > CAST(? AS SIGNED) OR `a``b` = CAST(? AS SIGNED)"+
		" AND (`u` > CAST(? AS UNSIGNED) OR `u` = CAST(? AS UNSIGNED) AND (`id` > CAST(? AS SIGNED))))"+order; without(got) != want {
		t.Errorf("the next page is\n%s, want\n%s", without(got), want)
	}
	after, ok := s.Pages.After(oneRow{0: "123", 1: "12", 2: "18446744073709551615"})
	var got []string
	for _, v := range after {
		got = append(got, shown(v))
	}
	if want := `int 2,int 2,text "18446744073709551615",text "18446744073709551615",int 3`; !ok || strings.Join(got, ",") != want {
		t.Errorf("%s, want %s", strings.Join(got, ","), want)
	}
	if _, ok := s.Pages.After(oneRow{0: "1", 1: "1"}); ok {
		t.Error("a row without a part of its key is followed by a page")
	}
	if len(s.Outputs) != 2 || s.Outputs[0].Selected != -1 || s.Outputs[1].Selected != 0 {
		t.Errorf("%+v", s.Outputs)
	}
}

// The key is compared with what the decision was made for where somebody else than the next page reads it.
func TestTheKeyOfPagesIsCheckedWhereItIsRead(t *testing.T) {
	for name, c := range map[string]struct {
		wanted []int32
		d      *policy.Decision
		want   bool
	}{
		"by nobody":     {[]int32{5}, decision(nil, nil), false},
		"under a NULL":  {[]int32{5, 1}, decision(nil, map[string]policy.Mask{"id": {Kind: policy.MaskNull}}), false},
		"by the person": {[]int32{5, 1}, decision(nil, nil), true},
		"under a mask":  {[]int32{1}, decision(nil, map[string]policy.Mask{"id": {Kind: policy.MaskRound, Base: "10"}}), true},
		"by the filter": {[]int32{5}, decision(filterOn("id", "<", "integer", "7"), nil), true},
		"by the engine": {[]int32{5}, decision(filterOn("id", "=", "text", "x"), nil), true},
	} {
		s, err := Compose(mariadb{}, ScanRequest{Table: sampleTable(), Wanted: c.wanted, Limit: -1, Decision: c.d, Page: &PageKey{Columns: []PageColumn{{Name: "id"}}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.ContainsFunc(s.Checks, func(c Check) bool { return c.Column == "id" }); got != c.want {
			t.Errorf("%s: checked %t, %+v", name, got, s.Checks)
		}
	}
}

// without leaves the witnesses out.
func without(sql string) string {
	list, rest, _ := strings.Cut(sql, " FROM ")
	list, _, _ = strings.Cut(list, ", CASE WHEN false")
	return list + " FROM " + rest
}

func TestWhatMayBeReadInPages(t *testing.T) {
	for name, c := range map[string]struct {
		d    Dialect
		r    ScanRequest
		want bool
	}{
		"all rows":               {mariadb{}, ScanRequest{Limit: -1}, true},
		"a row filter":           {mariadb{}, ScanRequest{Limit: -1, Decision: decision(filterOn("id", "<", "integer", "7"), nil)}, true},
		"a condition":            {mariadb{}, ScanRequest{Limit: -1, Conditions: conditionsOf(t, "id = 5")}, false},
		"a limit":                {mariadb{}, ScanRequest{Limit: 5}, false},
		"a limit that stays":     {mariadb{}, ScanRequest{Limit: 5, Decision: decision(filterOn("u", "=", "text", "x"), nil)}, true},
		"a driver that streams":  {postgres{}, ScanRequest{Limit: -1}, false},
		"another one that does ": {sqlite{}, ScanRequest{Limit: -1}, false},
	} {
		c.r.Table, c.r.Wanted = sampleTable(), []int32{1}
		s, err := Compose(c.d, c.r)
		if err != nil {
			t.Fatal(err)
		}
		if s.Pageable != c.want {
			t.Errorf("%s: %t", name, s.Pageable)
		}
	}
}

func TestPlansThatPagesCostNoMoreThan(t *testing.T) {
	for plan, want := range map[string]struct {
		rows  int64
		small bool
	}{
		"1|SIMPLE|t|ALL|||||995667|":                           {995667, false},
		"1|SIMPLE|t|ALL|||||995667|Using where":                {995667, false},
		"1|SIMPLE|t|index||PRIMARY|4||995667|Using index":      {995667, false},
		"1|SIMPLE|t|range|PRIMARY|PRIMARY|4||20000|":           {20000, false},
		"1|SIMPLE|t|range|PRIMARY|PRIMARY|4||20|":              {0, true},
		"1|SIMPLE|t|index||k|4||17|Using index":                {0, true},
		"1|SIMPLE|t|ALL|||||17|":                               {0, true},
		"1|SIMPLE|t|index||k|4||995667|Using index":            {0, false},
		"1|SIMPLE|t|ref|k|k|4|const|20000|":                    {0, false},
		"1|PRIMARY|t|ALL|||||995667|":                          {0, true},
		"1|SIMPLE|||||||||Impossible WHERE":                    {0, false},
		"1|SIMPLE|t|ALL|||||995667|;1|SIMPLE|u|ALL|||||995667": {0, true},
		"": {0, true},
	} {
		var rows [][]*string
		for row := range strings.SplitSeq(plan, ";") {
			var cells []*string
			for cell := range strings.SplitSeq(row, "|") {
				cells = append(cells, &cell)
			}
			rows = append(rows, cells)
		}
		if n, small := (mariadb{}).InPages(rows); n != want.rows || small != want.small {
			t.Errorf("%s: %d %t", plan, n, small)
		}
	}
}
