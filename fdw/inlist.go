package fdw

// maxInList bounds the marks of one IN; SQLite allows 32,766 a statement.
const maxInList = 1000

func (p *printer) scalarArray(e *ScalarArray) error {
	op := e.Operator
	equal := op.Name == "=" && e.Any
	unequal := op.Name == "<>" && !e.Any
	if !op.BuiltIn() || !equal && !unequal {
		return decline("only = ANY and <> ALL are computed remotely")
	}
	cl, err := p.comparison(op, e.Collation, false)
	if err != nil {
		return err
	}
	done, err := p.r.anyOf(p, e, cl)
	if done || err != nil {
		return err
	}
	return p.inList(e, cl)
}

// inList prints value IN (?, …). PostgreSQL's NULL rules for = ANY and <> ALL
// are those of IN and NOT IN; an empty array decides even for NULL.
func (p *printer) inList(e *ScalarArray, cl class) error {
	array, ok := e.Array.(*Const)
	if !ok || array.Null {
		return decline("the list of values is computed here")
	}
	items, ok := arrayElements(array.Text)
	if !ok || len(items) > maxInList {
		return decline("the list holds more than %d values", maxInList)
	}
	if len(items) == 0 {
		p.w.Raw(map[bool]string{true: "(1 = 0)", false: "(1 = 1)"}[e.Any])
		return nil
	}
	element := elementOf(array.Type)
	if cl == classEnum {
		element = oidAnyEnum
	}
	if classOf(element) == classNone {
		element = e.Operator.Right
	}
	if classOf(element) != cl {
		return decline("the list of values is computed here")
	}
	list := func() error {
		p.w.Raw("(")
		for i, item := range items {
			if i > 0 {
				p.w.Raw(", ")
			}
			if err := p.constant(&Const{Type: element, Text: deref(item), Null: item == nil}, cl); err != nil {
				return err
			}
		}
		p.w.Raw(")")
		return nil
	}
	p.w.Raw("(")
	if !e.Any {
		p.w.Raw("NOT (")
	}
	if c := p.columnOf(e.Value); c != nil {
		if before, after := p.r.wider(c, cl, isASCII(array.Text)); before != "" {
			p.w.Raw(before, " IN ")
			if err := p.widely(list); err != nil {
				return err
			}
			p.w.Raw(after, " AND ")
		}
	}
	if err := p.scalar(e.Value, cl); err != nil {
		return err
	}
	p.w.Raw(" IN ")
	if err := list(); err != nil {
		return err
	}
	if !e.Any {
		p.w.Raw(")")
	}
	p.w.Raw(")")
	return nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
