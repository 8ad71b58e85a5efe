package grants

import (
	"context"
	"strings"

	"portcullis.dev/portcullis/connection"
)

// Pair is what one person effectively reaches of one table, whatever gives it,
// and what the policies give.
type Pair struct {
	Person  string
	Role    string
	Object  connection.ObjectRef
	Verdict connection.Verdict
	Has     []string // table privileges that can be used
	Should  []string
	Beyond  string // what is more, by-paths and attributes too
}

// Inspect reads the instance and hands over each pair of person and managed
// table, or those of one role. It changes nothing.
func (e *Engine) Inspect(ctx context.Context, want connection.Want, role string, pair func(Pair)) error {
	s := &sessions{connect: e.o.Connect}
	defer s.close()
	v, err := e.look(ctx, s, want, nil)
	if err != nil {
		return err
	}
	if role != "" {
		var one []connection.Account
		for _, a := range v.want.accounts {
			if a.Role == role {
				one = append(one, a)
			}
		}
		v.want.accounts = one
	}
	evaluate(v, e.o.Target, 0, func(database int, role string, table int32, actual, should bits) {
		verdict, beyond := connection.Equal, actual&^should.within()
		switch {
		case beyond != 0:
			verdict = connection.Exceeds
		case should&^onlyRows&^actual != 0:
			verdict = connection.Lacks
		}
		pair(Pair{Person: v.want.people[role], Role: role, Object: v.want.databases[database].tables[table].ref, Verdict: verdict,
			Has: actual.names(), Should: should.names(), Beyond: beyond.String()})
	})
	return nil
}

// Reaches reports whether a privilege of a table, or of some of its columns, can be used.
func (p Pair) Reaches(privilege string) bool {
	for _, h := range p.Has {
		if h == privilege {
			return true
		}
	}
	return strings.Contains(p.Beyond, privilege+" on columns")
}
