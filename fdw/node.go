package fdw

import (
	"fmt"
	"strings"
)

// node is one value of PostgreSQL's nodeToString text. Exactly one of its
// forms is in use: a tagged node, a list or an atom.
type node struct {
	kind   nodeKind
	tag    string // nodeTagged: VAR, OPEXPR …; nodeList: "", i, o, b or x
	fields []field
	items  []node // nodeList
	atom   string // nodeAtom: escapes resolved
}

type field struct {
	name  string
	value node
}

type nodeKind int

const (
	nodeNull nodeKind = iota // <>
	nodeAtom
	nodeList
	nodeTagged
)

// usualFields are enough for most nodes.
const usualFields = 12

// maxNodeDepth bounds the nesting; PostgreSQL's own stack ends near it.
const maxNodeDepth = 1000

// parseNode reads nodeToString text (src/backend/nodes/outfuncs.c and read.c).
func parseNode(text string) (node, error) {
	p := nodeParser{in: text}
	n, err := p.value(0)
	if err != nil {
		return node{}, err
	}
	if t, _ := p.peek(); t != "" {
		return node{}, p.fail("text after the end of the tree")
	}
	return n, nil
}

type nodeParser struct {
	in  string
	pos int
}

func (p *nodeParser) fail(what string) error {
	return fmt.Errorf("expression tree: %s at byte %d", what, p.pos)
}

// value reads one value: a tagged node, a list or an atom.
func (p *nodeParser) value(depth int) (node, error) {
	if depth > maxNodeDepth {
		return node{}, p.fail("nesting too deep")
	}
	tok, quoted := p.next()
	switch {
	case tok == "" && !quoted:
		return node{}, p.fail("unexpected end")
	case quoted:
		return node{kind: nodeAtom, atom: unescape(tok[1 : len(tok)-1])}, nil
	case tok == "{":
		return p.tagged(depth)
	case tok == "(":
		return p.list(depth)
	case tok == "<>":
		return node{kind: nodeNull}, nil
	case tok == ")" || tok == "}":
		return node{}, p.fail("unexpected " + tok)
	}
	return node{kind: nodeAtom, atom: unescape(tok)}, nil
}

// tagged reads the rest of {TAG :name value …}.
func (p *nodeParser) tagged(depth int) (node, error) {
	tag, quoted := p.next()
	if quoted || tag == "" || strings.ContainsAny(tag, "(){}") {
		return node{}, p.fail("node without a tag")
	}
	n := node{kind: nodeTagged, tag: tag, fields: make([]field, 0, usualFields)}
	for {
		tok, quoted := p.next()
		switch {
		case tok == "}" && !quoted:
			return n, nil
		case !quoted && len(tok) > 1 && tok[0] == ':':
			f, err := p.field(tok[1:], depth)
			if err != nil {
				return node{}, err
			}
			n.fields = append(n.fields, f)
		default:
			return node{}, p.fail("field name expected")
		}
	}
}

// field reads what belongs to one field: usually one value. What follows it, such
// as the bytes of a constant in "4 [ 1 0 0 0 ]", is passed over.
func (p *nodeParser) field(name string, depth int) (field, error) {
	f := field{name: name}
	tok, quoted := p.peek()
	if !quoted && (tok == "}" || strings.HasPrefix(tok, ":")) {
		return f, nil // a char field holding NUL is printed as nothing
	}
	v, err := p.value(depth + 1)
	if err != nil {
		return field{}, err
	}
	f.value = v
	for {
		tok, quoted := p.peek()
		if !quoted && (tok == "}" || len(tok) > 1 && tok[0] == ':') {
			return f, nil
		}
		if tok == "" || !quoted && (tok == "{" || tok == "(" || tok == ")") {
			return field{}, p.fail("field name expected")
		}
		p.next()
	}
}

// list reads the rest of (…), (i …), (o …), (b …) or (x …).
func (p *nodeParser) list(depth int) (node, error) {
	n := node{kind: nodeList}
	first := true
	for {
		tok, quoted := p.peek()
		if tok == "" {
			return node{}, p.fail("list without end")
		}
		if !quoted && tok == ")" {
			p.next()
			return n, nil
		}
		if first && !quoted && (tok == "i" || tok == "o" || tok == "b" || tok == "x") {
			p.next()
			n.tag = tok
			first = false
			continue
		}
		first = false
		v, err := p.value(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, v)
	}
}

func (p *nodeParser) peek() (tok string, quoted bool) {
	at := p.pos
	tok, quoted = p.next()
	p.pos = at
	return tok, quoted
}

// next is pg_strtok: blanks separate, ( ) { } stand alone, a backslash takes
// the next character. A string in double quotes (PostgreSQL 16 and before
// print T_String so) is returned with its quotes.
func (p *nodeParser) next() (tok string, quoted bool) {
	for p.pos < len(p.in) && isBlank(p.in[p.pos]) {
		p.pos++
	}
	if p.pos >= len(p.in) {
		return "", false
	}
	start := p.pos
	switch p.in[start] {
	case '(', ')', '{', '}':
		p.pos++
		return p.in[start:p.pos], false
	}
	for p.pos < len(p.in) {
		c := p.in[p.pos]
		if isBlank(c) || c == '(' || c == ')' || c == '{' || c == '}' {
			break
		}
		if c == '\\' && p.pos+1 < len(p.in) {
			p.pos++
		}
		p.pos++
	}
	tok = p.in[start:p.pos]
	return tok, len(tok) >= 2 && tok[0] == '"' && tok[len(tok)-1] == '"'
}

func isBlank(c byte) bool { return c == ' ' || c == '\n' || c == '\t' }

// unescape is debackslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// get returns the value of a field, the null node where it is missing.
func (n *node) get(name string) *node {
	for i := range n.fields {
		if n.fields[i].name == name {
			return &n.fields[i].value
		}
	}
	return &node{}
}
