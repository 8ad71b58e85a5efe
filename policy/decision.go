// Package policy says what a policy means: the model, typed predicates, the
// evaluator and the masks. It is pure (no I/O, no clock of its own) and is
// the one place that decides; service and engine both use it.
package policy

// Decision is the answer for one person and one data source, as the service
// sends it to an engine. The zero Decision denies.
type Decision struct {
	DataSource string `json:"data_source"` // uuid
	Allowed    bool   `json:"allowed"`

	// Denied: what the person reads. Discoverable is false where the
	// refusal must read like that of a missing table.
	Reason       string `json:"reason,omitempty"`
	Contact      string `json:"contact,omitempty"` // whom to ask
	Discoverable bool   `json:"discoverable,omitempty"`

	// What the data source is remotely. An engine refuses a foreign table
	// whose options name anything else.
	Source       string   `json:"source,omitempty"`        // name of the source = foreign server
	RemoteSchema string   `json:"remote_schema,omitempty"` // "" if the source has no schemas
	RemoteTable  string   `json:"remote_table,omitempty"`
	Columns      []Column `json:"columns,omitempty"` // the dictionary the decision was made for
	// Unmanaged: the dictionary's types are those that somebody gave a foreign
	// table by hand, and need not be what the source's types become.
	Unmanaged bool `json:"unmanaged,omitempty"`

	// Filter is nil where every row is visible.
	Filter *Predicate      `json:"filter,omitempty"`
	Masks  map[string]Mask `json:"masks,omitempty"` // by remote column name

	Policies []PolicyRef `json:"policies,omitempty"` // what applied, for the audit
	Person   PersonRef   `json:"person"`

	Limits Limits `json:"limits,omitzero"` // on the source, for this person

	MaxAgeMS int64 `json:"max_age_ms"` // may be kept so long, counted from when it was asked for
	Version  int64 `json:"version"`    // policy version it was made from
}

// Column is one column of a data source's dictionary.
type Column struct {
	Name string `json:"name"` // remote name
	Type string `json:"type"` // PostgreSQL type as format_type prints it
}

// PolicyRef names a policy in the version that applied.
type PolicyRef struct {
	ID      string `json:"id"`
	Version int64  `json:"version"`
	Kind    string `json:"kind"` // subscription, mask, filter
}

// PersonRef names the person that a decision is for.
type PersonRef struct {
	IAMID        string `json:"iamid"`
	UserID       string `json:"userid"`
	Impersonator string `json:"impersonator,omitempty"` // userid of who acts as them

	ImpersonatorIAMID string `json:"impersonator_iamid,omitempty"`
}

// MaskKind names a mask.
type MaskKind string

// The first set of masks (POLICY.md, "Masks").
const (
	MaskNull     MaskKind = "null"
	MaskConstant MaskKind = "constant"
	MaskHash     MaskKind = "hash"
	MaskRegex    MaskKind = "regex"
	MaskRound    MaskKind = "round"    // numbers
	MaskTruncate MaskKind = "truncate" // dates and times
)

// NullsMode says what a mask shows for NULL.
type NullsMode string

const (
	NullsKeep NullsMode = ""     // NULL
	NullsMask NullsMode = "mask" // what the mask shows for values: that a value is missing is hidden
)

// Mask is how one column is shown.
type Mask struct {
	Kind  MaskKind  `json:"kind"`
	Nulls NullsMode `json:"nulls,omitempty"` // constant and hash only: the others have nothing but NULL to show for NULL

	Constant *string `json:"constant,omitempty"` // constant: text of the column's type, nil = NULL

	Key []byte `json:"key,omitempty"` // hash: HMAC-SHA-256 key of the table; never shown or logged

	Pattern     string `json:"pattern,omitempty"`     // regex: RE2
	Replacement string `json:"replacement,omitempty"` // regex: with $1 …
	Global      bool   `json:"global,omitempty"`      // regex: replace every match
	Keep        bool   `json:"keep,omitempty"`        // regex: unmatched values stay, else NULL

	Base string `json:"base,omitempty"` // round: positive decimal b, shows floor(x/b)*b
	Unit string `json:"unit,omitempty"` // truncate: year, quarter, month, week, day, hour, minute
	Zone string `json:"zone,omitempty"` // truncate: IANA zone for timestamptz, default UTC

	Policy string `json:"policy,omitempty"`
}
