package run

import (
	"fmt"

	"portcullis.dev/portcullis/engine/mask"
	"portcullis.dev/portcullis/fdw"
	"portcullis.dev/portcullis/odbc"
	"portcullis.dev/portcullis/policy"
)

// compose makes the remote statement and what is done to its rows here.
func (s *Scan) compose(r *ScanRequest) error {
	conditions, err := fdw.ReadQuals(r.Quals)
	if err != nil {
		return &Error{State: stateInternal, Message: "could not read the conditions of the scan", Detail: err.Error()}
	}
	s.request = fdw.ScanRequest{
		Table: r.Table, Wanted: r.Wanted, Conditions: conditions, Limit: r.Limit, QueryID: r.QueryID,
		Indirect: s.engine.indirect(s.relation()),
	}
	if s.held != nil {
		s.request.Decision = s.held.decision
	}
	reading, err := s.read(s.request)
	if err != nil {
		return err
	}
	s.reading.Store(reading)
	return nil
}

func (s *Scan) read(request fdw.ScanRequest) (r *reading, err error) {
	r = &reading{}
	if r.statement, err = fdw.Compose(s.dialect, request); err != nil {
		return nil, AsError(err)
	}
	for _, c := range r.statement.Columns {
		r.columns = append(r.columns, odbc.Column{Kind: odbc.Kind(c.Kind), MaxLen: c.MaxLen})
	}
	r.transform, err = s.veil(r.statement)
	return r, err
}

// veil prepares what the engine does to the rows: masks and what the source
// could not compute of the row filter; nil: nothing.
func (s *Scan) veil(statement *fdw.Statement) (*mask.Transform, error) {
	columns := make([]mask.Column, len(statement.Outputs))
	for i, out := range statement.Outputs {
		columns[i] = mask.Column{Source: out.Selected}
		if out.Selected < 0 {
			continue
		}
		columns[i].Type = statement.Columns[out.Selected].Type
		if out.Mask == nil {
			continue
		}
		local := s.table.ByAttnum(s.wanted[i])
		if err := shows(out.Mask, local, s.table); err != nil {
			return nil, err
		}
		masker, err := out.Mask.Compile(columns[i].Type)
		if err != nil {
			return nil, cannotVeil(s.table)
		}
		columns[i].Masker = masker
	}
	filter, reads, err := veiledRows(statement, s.table)
	if err != nil {
		return nil, err
	}
	transform := mask.New(columns, filter, reads)
	if statement.Readable >= 0 {
		transform.Require(statement.Readable)
	}
	if !transform.Idle(len(statement.Columns)) {
		return transform, nil
	}
	return nil, nil
}

func veiledRows(statement *fdw.Statement, t *fdw.Table) (policy.Filter, []mask.FilterColumn, error) {
	if statement.Filter == nil {
		return nil, nil, nil
	}
	var columns []policy.Column
	var reads []mask.FilterColumn
	for name, at := range statement.FilterColumns {
		of := statement.Columns[at].Type
		columns = append(columns, policy.Column{Name: name, Type: of})
		reads = append(reads, mask.FilterColumn{Source: at, Type: of})
	}
	filter, err := statement.Filter.Compile(columns)
	if err != nil {
		return nil, nil, cannotVeil(t)
	}
	return filter, reads, nil
}

func cannotVeil(t *fdw.Table) error {
	return &Error{
		State:   stateDenied,
		Message: fmt.Sprintf("the policy of foreign table \"%s\" cannot be applied on this node", t.LocalName),
		Hint:    "An administrator looks at the policy and the columns of the data source.",
	}
}

// shows refuses a column whose local type cannot hold what the mask shows.
func shows(m *policy.Mask, c *fdw.TableColumn, t *fdw.Table) error {
	if m.Kind != policy.MaskHash {
		return nil
	}
	switch c.BaseType {
	case "text":
		return nil
	case "varchar", "bpchar":
		if c.Typmod < 4 || c.Typmod-4 >= policy.HashLength {
			return nil
		}
	}
	return &Error{
		State:   stateMismatch,
		Message: fmt.Sprintf("column \"%s\" of foreign table \"%s\" is shown as a hash, which type %s cannot hold", c.Name, t.LocalName, c.TypeName),
		Hint:    "Leave the column out of the query. An administrator declares it as text, or masks it in another way.",
	}
}
