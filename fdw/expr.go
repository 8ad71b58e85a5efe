package fdw

// Expr is a typed expression of PostgreSQL. Joins, aggregates and whole
// queries will be further node types over the same expressions; a Column
// therefore names its table.
type Expr interface{ expr() }

// Column is a column of a relation of the query.
type Column struct {
	Relation  int // range table index, 1 for the scanned table
	Attnum    int32
	Type      uint32
	Collation uint32
	// Of is set for columns that do not come from a tree: those that a row
	// filter names. Otherwise the column is found by Attnum.
	Of *TableColumn
}

// Const is a constant, its value in the text of the type's output function.
type Const struct {
	Type      uint32
	Collation uint32
	Text      string
	Null      bool
}

// Param is a value that the executor computes before the scan starts.
type Param struct {
	Index     int // from 0
	Type      uint32
	Collation uint32
}

// Op is an operator call.
type Op struct {
	Operator  Fact
	Args      []Expr // one or two
	Collation uint32 // that the operator uses (inputcollid)
}

// Func is a function call, casts by function included.
type Func struct {
	Function  Fact
	Args      []Expr
	Result    uint32
	Collation uint32 // that the function uses
	Cast      bool   // written as a cast
}

// BoolKind is the connective of a Bool.
type BoolKind int

// The connectives.
const (
	And BoolKind = iota
	Or
	Not
)

// Bool joins conditions.
type Bool struct {
	Kind BoolKind
	Args []Expr
}

// NullTest is IS NULL, or IS NOT NULL.
type NullTest struct {
	Arg Expr
	Not bool
	Row bool // tests the fields of a composite value
}

// BooleanTest is IS [NOT] TRUE, FALSE or UNKNOWN.
type BooleanTest struct {
	Arg  Expr
	What BooleanTestKind
}

// BooleanTestKind is numbered as in PostgreSQL's BoolTestType.
type BooleanTestKind int

// The tests.
const (
	IsTrue BooleanTestKind = iota
	IsNotTrue
	IsFalse
	IsNotFalse
	IsUnknown
	IsNotUnknown
)

// ScalarArray is value op ANY (array), or op ALL.
type ScalarArray struct {
	Operator  Fact
	Any       bool
	Value     Expr
	Array     Expr
	Collation uint32
}

// Case is CASE [arg] WHEN … THEN … ELSE … END.
type Case struct {
	Arg    Expr // nil: searched
	Whens  []When
	Else   Expr // nil: NULL
	Result uint32
}

// When is one arm of a Case.
type When struct{ Cond, Result Expr }

// CaseValue stands for the argument of the Case around it.
type CaseValue struct{ Type, Collation uint32 }

// Coalesce is COALESCE.
type Coalesce struct {
	Args      []Expr
	Result    uint32
	Collation uint32
}

// NullIf is NULLIF; Operator is its equality.
type NullIf struct {
	Operator  Fact
	Args      []Expr
	Result    uint32
	Collation uint32
}

// MinMax is GREATEST or LEAST.
type MinMax struct {
	Args      []Expr
	Least     bool
	Result    uint32
	Collation uint32 // that the comparison uses
}

// Relabel changes the type without changing the value.
type Relabel struct {
	Arg       Expr
	Result    uint32
	Typmod    int32
	Collation uint32
}

// Cast converts through text (CoerceViaIO), or into a domain.
type Cast struct {
	Arg       Expr
	Result    uint32
	Collation uint32
	Domain    bool
}

// Distinct is IS DISTINCT FROM; Operator is its equality.
type Distinct struct {
	Operator  Fact
	Args      []Expr
	Collation uint32
}

// Unknown is a node that no dialect can compute; Tag is PostgreSQL's name.
type Unknown struct{ Tag string }

func (*Column) expr()      {}
func (*Const) expr()       {}
func (*Param) expr()       {}
func (*Op) expr()          {}
func (*Func) expr()        {}
func (*Bool) expr()        {}
func (*NullTest) expr()    {}
func (*BooleanTest) expr() {}
func (*ScalarArray) expr() {}
func (*Case) expr()        {}
func (*CaseValue) expr()   {}
func (*Coalesce) expr()    {}
func (*NullIf) expr()      {}
func (*MinMax) expr()      {}
func (*Relabel) expr()     {}
func (*Cast) expr()        {}
func (*Distinct) expr()    {}
func (*Unknown) expr()     {}

// Fact is what is known of an operator or function (engine.h, pc_fact).
type Fact struct {
	OID         uint32
	Schema      string
	Name        string
	Left, Right uint32
	Result      uint32
	Volatility  byte // 'i', 's', 'v'
	Strict      bool
	Leakproof   bool
}

// firstUserOID is FirstNormalObjectId: objects from it on are not built in.
const firstUserOID = 16384

// BuiltIn reports whether the object is PostgreSQL's own, whose meaning is known.
func (f Fact) BuiltIn() bool {
	return f.Schema == "pg_catalog" && f.OID < firstUserOID && f.Volatility == 'i'
}

// walk calls visit for e and everything below it.
func walk(e Expr, visit func(Expr)) {
	if e == nil {
		return
	}
	visit(e)
	for _, c := range children(e) {
		walk(c, visit)
	}
}

func children(e Expr) []Expr {
	switch e := e.(type) {
	case *Op:
		return e.Args
	case *Func:
		return e.Args
	case *Bool:
		return e.Args
	case *NullTest:
		return []Expr{e.Arg}
	case *BooleanTest:
		return []Expr{e.Arg}
	case *ScalarArray:
		return []Expr{e.Value, e.Array}
	case *Case:
		out := []Expr{}
		if e.Arg != nil {
			out = append(out, e.Arg)
		}
		for _, w := range e.Whens {
			out = append(out, w.Cond, w.Result)
		}
		if e.Else != nil {
			out = append(out, e.Else)
		}
		return out
	case *Coalesce:
		return e.Args
	case *NullIf:
		return e.Args
	case *MinMax:
		return e.Args
	case *Relabel:
		return []Expr{e.Arg}
	case *Cast:
		return []Expr{e.Arg}
	case *Distinct:
		return e.Args
	}
	return nil
}
