package fdw

import "testing"

func TestDescribedTypesAgreeWithWhatImportMadeOfThem(t *testing.T) {
	for _, test := range []struct {
		d     Dialect
		local string // format_type's name
		told  Described
		want  bool
	}{
		{postgres{}, "integer", Described{TypeName: "int4"}, true},
		{postgres{}, "integer", Described{TypeName: "int8"}, false},
		{postgres{}, "integer", Described{TypeName: "unknown"}, false},
		{postgres{}, "numeric(10,2)", Described{TypeName: "numeric"}, true},
		{postgres{}, "character varying(20)", Described{TypeName: "text"}, true},
		{postgres{}, "text", Described{TypeName: "bytea"}, false},
		{postgres{}, "text", Described{TypeName: "unknown"}, true}, // an enum
		{postgres{}, "text", Described{TypeName: "money"}, true},
		{postgres{}, "jsonb", Described{TypeName: "unknown"}, true},
		{postgres{}, "jsonb", Described{TypeName: "text"}, false},
		{postgres{}, "integer[]", Described{TypeName: "unknown"}, true},
		{postgres{}, "interval", Described{TypeName: ""}, true},
		{postgres{}, "timestamp(3) with time zone", Described{TypeName: "timestamptz"}, true},
		{postgres{}, "timestamp without time zone", Described{TypeName: "timestamptz"}, false},
		{mariadb{}, "integer", Described{TypeName: "integer"}, true},
		{mariadb{}, "integer", Described{TypeName: "integer", Unsigned: true}, false},
		{mariadb{}, "bigint", Described{TypeName: "integer", Unsigned: true}, true},
		{mariadb{}, "numeric(20,0)", Described{TypeName: "bigint", Unsigned: true}, true},
		{mariadb{}, "smallint", Described{TypeName: "tinyint", Unsigned: true}, true},
		{mariadb{}, "boolean", Described{TypeName: "tinyint"}, true},
		{mariadb{}, "text", Described{TypeName: "varchar"}, true},
		{mariadb{}, "uuid", Described{TypeName: "char"}, true},
		{mariadb{}, "date", Described{TypeName: "datetime"}, false},
		{sqlite{}, "bigint", Described{TypeName: "INTEGER"}, true},
		{sqlite{}, "bigint", Described{TypeName: "varchar"}, false},
		{sqlite{}, "text", Described{TypeName: "varchar"}, true},
		{sqlite{}, "numeric", Described{TypeName: "DECIMAL(10,2)"}, true},
		{sqlite{}, "date", Described{TypeName: "datetime"}, false},
	} {
		s := &Statement{Checks: []Check{{At: 0, Column: "c", Type: test.local}}}
		if _, changed := s.Changed(test.d, []Described{test.told}); changed == test.want {
			t.Errorf("%s %s described as %+v: changed is %t", test.d.Name(), test.local, test.told, changed)
		}
	}
	s := &Statement{Checks: []Check{{At: 1, Column: "c", Type: "text"}}}
	if _, changed := s.Changed(postgres{}, []Described{{TypeName: "text"}}); !changed {
		t.Error("a column that is not described is taken for unchanged")
	}
}
