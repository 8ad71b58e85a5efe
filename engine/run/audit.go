package run

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"portcullis.dev/portcullis/policy"
)

// AuditRequest is what the shim knows of a record (pc_audit_request).
type AuditRequest struct {
	Session   *Session
	Kind      string // intent, completion, denied, login
	RecordID  string
	Statement *string
	QueryID   int64
	Scans     []uint64
	Rows      int64
	Bytes     int64
	SQLState  *string // nil: success
	Message   *string
	Tables    []string // denied: data sources
}

// maxStatement is how much of a statement a record holds, bytes; its digest covers all.
const maxStatement = 64 << 10

type auditRecord struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	Time    string `json:"time"`
	Node    string `json:"node"`
	Session string `json:"session"` // process id and start, unique on the node

	Role        string            `json:"role"`
	RoleOID     uint32            `json:"role_oid"`
	Governed    bool              `json:"governed"`
	Person      *policy.PersonRef `json:"person,omitempty"`
	Impersonate *Impersonation    `json:"impersonate,omitempty"`
	Database    string            `json:"database,omitempty"`
	Client      string            `json:"client_address,omitempty"` // absent: local socket
	Application string            `json:"application,omitempty"`

	QueryID         string  `json:"query_id,omitempty"`
	Statement       *string `json:"statement,omitempty"`
	StatementSHA256 string  `json:"statement_sha256,omitempty"`
	StatementBytes  int     `json:"statement_bytes,omitempty"`

	Tables []auditTable `json:"tables,omitempty"`

	Rows     *int64  `json:"rows,omitempty"`
	Bytes    *int64  `json:"bytes,omitempty"`
	Outcome  string  `json:"outcome,omitempty"` // completion: success, error; denied
	SQLState *string `json:"sqlstate,omitempty"`
	Message  *string `json:"message,omitempty"`
}

type auditTable struct {
	DataSource   string             `json:"data_source,omitempty"`
	Table        string             `json:"table,omitempty"` // local name
	Columns      []string           `json:"columns,omitempty"`
	Allowed      *bool              `json:"allowed,omitempty"` // absent: ungoverned session
	Reason       string             `json:"reason,omitempty"`
	Version      int64              `json:"policy_version,omitempty"`
	Policies     []policy.PolicyRef `json:"policies,omitempty"`
	Masks        map[string]string  `json:"masks,omitempty"` // column: kind and policy
	Filtered     bool               `json:"filtered,omitempty"`
	Source       string             `json:"source,omitempty"`
	RemoteSchema string             `json:"remote_schema,omitempty"`
	RemoteTable  string             `json:"remote_table,omitempty"`
	Credential   uint32             `json:"credential,omitempty"` // OID of the user mapping
	RemoteSHA256 string             `json:"remote_sql_sha256,omitempty"`
}

// AuditRecord composes one line of JSON. Keys of masks, constants of filters
// and remote SQL are never in it, ids and digests are.
func (e *Engine) AuditRecord(r *AuditRequest) ([]byte, error) {
	s := r.Session
	record := auditRecord{
		ID: r.RecordID, Kind: r.Kind, Time: time.Now().UTC().Format(time.RFC3339Nano),
		Node: s.Node, Session: fmt.Sprintf("%d.%d", s.PID, s.Start),
		Role: s.Role, RoleOID: s.RoleOID, Governed: s.Governed, Impersonate: s.Impersonate,
		Database: s.Database, Client: s.ClientAddress, Application: s.Application,
		SQLState: r.SQLState, Message: valid(r.Message),
	}
	if r.QueryID != 0 {
		record.QueryID = queryName(r.QueryID)
	}
	if r.Statement != nil {
		sum := sha256.Sum256([]byte(*r.Statement))
		record.StatementSHA256, record.StatementBytes = hex.EncodeToString(sum[:]), len(*r.Statement)
		record.Statement = cut(*r.Statement, maxStatement)
	}
	switch r.Kind {
	case "completion":
		record.Rows, record.Bytes, record.Outcome = &r.Rows, &r.Bytes, "success"
		if r.SQLState != nil {
			record.Outcome = "error"
		}
	case "denied":
		record.Outcome = "denied"
		e.auditDenied(&record, r)
	}
	for _, id := range r.Scans {
		if scan := e.scan(id); scan != nil {
			record.Tables = append(record.Tables, scan.audit())
			if record.Person == nil && scan.held != nil {
				record.Person = &scan.held.decision.Person
			}
		}
	}
	line, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("compose an audit record: %w", err)
	}
	return line, nil
}

// auditDenied tells of each table what the service answered, as far as it is cached.
func (e *Engine) auditDenied(record *auditRecord, r *AuditRequest) {
	who := r.Session.identity()
	for _, name := range r.Tables {
		table := auditTable{DataSource: name}
		if h, ok := e.decisions.recent(who, name); ok {
			table = tableOf(h.decision)
			record.Person = &h.decision.Person
		}
		record.Tables = append(record.Tables, table)
	}
}

func tableOf(d *policy.Decision) auditTable {
	t := auditTable{
		DataSource: d.DataSource, Allowed: &d.Allowed, Reason: d.Reason, Version: d.Version, Policies: d.Policies,
		Filtered: d.Filter != nil, Source: d.Source, RemoteSchema: d.RemoteSchema, RemoteTable: d.RemoteTable,
	}
	for column, m := range d.Masks {
		if t.Masks == nil {
			t.Masks = map[string]string{}
		}
		t.Masks[column] = strings.TrimSuffix(string(m.Kind)+" "+m.Policy, " ")
	}
	return t
}

// audit is the part of a scan in the intent record.
func (s *Scan) audit() auditTable {
	t := auditTable{Source: s.source.ServerName, RemoteSchema: s.table.RemoteSchema, RemoteTable: s.table.RemoteName, DataSource: s.table.DataSource}
	if s.held != nil {
		t = tableOf(s.held.decision)
	}
	t.Table = s.table.LocalSchema + "." + s.table.LocalName
	for _, attnum := range s.wanted {
		if c := s.table.ByAttnum(attnum); c != nil {
			t.Columns = append(t.Columns, c.RemoteName)
		}
	}
	slices.Sort(t.Columns)
	t.Credential = s.source.MappingOID
	sum := sha256.Sum256([]byte(s.reading.Load().statement.SQL))
	t.RemoteSHA256 = hex.EncodeToString(sum[:])
	return t
}

// queryName is how a query is named in records and in remote SQL.
func queryName(id int64) string { return strconv.FormatInt(id, 10) }

// cut keeps at most n bytes of a text, whole characters only.
func cut(text string, n int) *string {
	if len(text) > n {
		for n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	return valid(&text)
}

// valid replaces what is not UTF-8: JSON holds nothing else.
func valid(text *string) *string {
	if text == nil {
		return nil
	}
	clean := strings.ToValidUTF8(*text, "�")
	return &clean
}
