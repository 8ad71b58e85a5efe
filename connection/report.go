package connection

import "time"

// Verdict on one person and table.
type Verdict string

const (
	// Equal: the person reaches what the policies give, no more and no less.
	Equal Verdict = "equal"
	// Exceeds: the person reaches more, by what others gave.
	Exceeds Verdict = "exceeds"
	// Lacks: the person reaches less: pending, or the table is not enforceable.
	Lacks Verdict = "lacks"
)

// FindingKind says what a finding is about.
type FindingKind string

const (
	// FindingExcess is access that somebody else gave and that we cannot revoke.
	FindingExcess FindingKind = "excess"
	// FindingGiven is what a relation that the policies give shows of another one,
	// which they hide or do not give. It is not counted as excess: the policies
	// say both.
	FindingGiven FindingKind = "given"
	// FindingLeft is a role of ours that nobody is a member of and that cannot be
	// dropped: Role is its name, Via what hangs on it.
	FindingLeft FindingKind = "left"
	// FindingIncomplete says, in Privilege, that not everything was looked at or
	// listed, with counts: there may be more findings of an object.
	FindingIncomplete FindingKind = "incomplete"
)

// Excess is a finding: access that somebody else gave and that we cannot
// revoke, unless Kind says otherwise.
type Excess struct {
	Kind      FindingKind `json:"kind,omitempty"` // "": excess
	Person    string      `json:"person"`         // the first, if others reach it the same way
	Role      string      `json:"role"`
	Object    ObjectRef   `json:"object,omitzero"` // zero: the instance; without a name a schema, without that a database
	Privilege string      `json:"privilege"`       // SELECT, TRIGGER, ownership, SUPERUSER, …
	Via       []string    `json:"via,omitempty"`   // roles on the way, PUBLIC, or the view or function that reads the table
	Grantor   string      `json:"grantor,omitempty"`
	Statement string      `json:"statement,omitempty"` // what a DBA must run
	People    int         `json:"people,omitempty"`    // how many reach it the same way
}

// Pending is a statement that is not in force yet.
type Pending struct {
	Statement string    `json:"statement"`
	Revoke    bool      `json:"revoke"`
	Since     time.Time `json:"since"`
	Error     *Error    `json:"error,omitempty"`
	Blocker   string    `json:"blocker,omitempty"` // who holds the lock: pid, role, application, statement's start
}

// LingeringSession is a session from before a revoke. Up to PostgreSQL 15 it may
// have done SET ROLE to a role of ours and then keeps that role's privileges
// until it ends; whether it did cannot be seen from outside.
type LingeringSession struct {
	PID       int32     `json:"pid"`
	Role      string    `json:"role"`  // who logged in
	Roles     []string  `json:"roles"` // of ours, that were taken away
	Since     time.Time `json:"since"` // of the revoke
	Statement string    `json:"statement"`
}

// Report is how an instance stands after a round.
type Report struct {
	Equal   int `json:"equal"` // pairs of person and managed table
	Exceeds int `json:"exceeds"`
	Lacks   int `json:"lacks"`
	// NotEnforceable are those of Lacks whose table cannot be granted on.
	NotEnforceable int `json:"not_enforceable"`

	Applied int `json:"applied"` // statements of this round
	Drift   int `json:"drift"`   // statements that mended what somebody changed by hand
	Given   int `json:"given"`   // findings of that kind
	// Incomplete are findings of that kind.
	Incomplete int `json:"incomplete,omitempty"`

	Excess  []Excess  `json:"excess,omitempty"`
	Pending []Pending `json:"pending,omitempty"`
	Lacking []string  `json:"lacking,omitempty"` // tables that cannot be enforced, with the reason
	// Unlimited are people whom no GRANT limits: superusers, owners and the like, with the reason.
	Unlimited []string `json:"unlimited,omitempty"`

	Lingering []LingeringSession `json:"lingering,omitempty"`
}

// Place is where a finding is: a table, a schema, a database, or the instance.
func (r ObjectRef) Place() string {
	switch {
	case r.Name != "":
		return FullName(r.Database, r.Schema, r.Name)
	case r.Schema != "":
		return "schema " + FullName(r.Database, r.Schema)
	case r.Database != "":
		return "database " + FullName(r.Database)
	}
	return "every table of the instance"
}
