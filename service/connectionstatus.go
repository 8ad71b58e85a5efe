package service

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/connection/crawl"
	"portcullis.dev/portcullis/connection/mapping"
)

// How a connection stands.
const (
	standNew      = "new"      // registered, not worked on yet
	standInStep   = "in step"  // what is ours equals the policies
	standPending  = "pending"  // statements are not in force yet
	standBehind   = "behind"   // the last round failed
	standDeleting = "deleting" // what was given is being taken back
	standOverdue  = "overdue"  // a revoke is pending for too long
	// Everything is in force for new sessions; some from before a revoke are open.
	standLingering = "lingering"
)

// ConnectionStatus is how a connection stands.
type ConnectionStatus struct {
	Connection string             `json:"connection"`
	State      string             `json:"state"`
	Server     *connection.Server `json:"server,omitempty"`
	Version    int64              `json:"version"` // policy version that is in force there
	LastCrawl  *time.Time         `json:"last_crawl,omitempty"`
	LastSync   *time.Time         `json:"last_sync,omitempty"` // the last round that succeeded
	Compared   *time.Time         `json:"compared,omitempty"`  // all of it with the policies: what the counts and findings below are of
	LastTry    *time.Time         `json:"last_try,omitempty"`
	Tries      int                `json:"tries,omitempty"` // that failed since
	Error      *connection.Error  `json:"error,omitempty"`
	Since      *time.Time         `json:"since,omitempty"` // of the error

	Objects ObjectCounts `json:"objects"`
	People  PeopleCounts `json:"people"`

	Equal      int                           `json:"equal"`   // pairs of person and table
	Exceeds    int                           `json:"exceeds"` // by what others gave: see findings
	Lacks      int                           `json:"lacks"`
	Given      int                           `json:"given,omitempty"`      // findings: relations that the policies give show what they hide elsewhere
	Incomplete int                           `json:"incomplete,omitempty"` // findings: what was not looked at, or not listed
	Applied    int                           `json:"applied"`              // statements of the last round
	Drift      int                           `json:"drift"`                // of those that mended what somebody changed by hand
	Drifts     int64                         `json:"drifts"`               // statements of that kind since the registration
	Pending    []connection.Pending          `json:"pending,omitempty"`
	Overdue    []connection.Pending          `json:"overdue,omitempty"`   // revokes that are pending for too long
	Lingering  []connection.LingeringSession `json:"lingering,omitempty"` // sessions from before a revoke, up to PostgreSQL 15
	Lacking    []string                      `json:"lacking,omitempty"`   // tables that cannot be enforced, with the reason
	Withheld   []Withheld                    `json:"withheld,omitempty"`
	Views      []ViewStatus                  `json:"views,omitempty"`    // of tables of which people may see a part
	ViewsIn    []string                      `json:"views_in,omitempty"` // databases in which views may stand
	Rows       []RowsStatus                  `json:"rows,omitempty"`     // tables of which people see some rows by row-level security
	RowsIn     []string                      `json:"rows_in,omitempty"`  // databases in which policies of ours may stand

	Progress *crawl.Progress `json:"progress,omitempty"` // of a crawl that is under way
	Holder   string          `json:"holder,omitempty"`   // the service that works on it

	NotEnforceable int `json:"not_enforceable"` // of those that lack: our grants cannot be made on the table

	Disabled bool            `json:"disabled,omitempty"` // nothing is enforced, but on what is enabled below
	Waiting  []WaitingObject `json:"waiting,omitempty"`  // settings that count for nothing yet
	Remarks  []PolicyRemark  `json:"remarks,omitempty"`  // policies that name what was renamed here, or is not here

	SyncWanted int64 `json:"sync_wanted"` // number of the last sync that was asked for
	SyncTried  int64 `json:"sync_tried"`  // the last asked for when the last try began
	SyncDone   int64 `json:"sync_done"`   // of the last that was done
}

// unsettled reports whether the instance has to be looked at again.
func (st *ConnectionStatus) unsettled() bool { return len(st.Pending)+len(st.Lingering) > 0 }

// ObjectCounts count what a connection has.
type ObjectCounts struct {
	Databases      int `json:"databases"`
	Unreadable     int `json:"unreadable"` // databases that the last crawl could not read
	Schemas        int `json:"schemas"`
	Tables         int `json:"tables"`
	Enforced       int `json:"enforced"`
	NotEnforceable int `json:"not_enforceable"` // of those
	Dropped        int `json:"dropped"`
}

// PeopleCounts count who has an account.
type PeopleCounts struct {
	Mapped   int `json:"mapped"`
	Unmapped int `json:"unmapped"`
	Warnings int `json:"warnings"`
}

// ConnectionAccounts is who is who on a connection.
type ConnectionAccounts struct {
	Accounts []connection.Account `json:"accounts"`
	Unmapped []mapping.Problem    `json:"unmapped"`
	Warnings []mapping.Problem    `json:"warnings"`
}

// ConnectionState is the state of a connection in a list of all.
type ConnectionState struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Disabled bool   `json:"disabled,omitempty"`
}

func (s *Store) connectionStates(ctx context.Context) ([]ConnectionState, error) {
	rows, err := s.pool.Query(ctx, `SELECT c.name, CASE WHEN c.deleting THEN $1 ELSE coalesce(nullif(t.body->>'state', ''), $2) END, NOT c.enforce
		FROM portcullis.connections c LEFT JOIN portcullis.connection_status t ON t.connection = c.id ORDER BY 1`, standDeleting, standNew)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[ConnectionState])
}

// ConnectionStatus reads how a connection stands, as its last round left it.
func (s *Store) ConnectionStatus(ctx context.Context, name string) (ConnectionStatus, error) {
	st := ConnectionStatus{Connection: name, State: standNew}
	var deleting bool
	var wanted, done int64
	err := s.pool.QueryRow(ctx, `SELECT coalesce(t.body, '{}'), t.progress, c.deleting, coalesce((SELECT holder FROM portcullis.connection_leases l WHERE l.connection = c.id AND l.expires > clock_timestamp()), ''),
			c.sync_wanted, c.sync_done, NOT c.enforce
		FROM portcullis.connections c LEFT JOIN portcullis.connection_status t ON t.connection = c.id WHERE c.name = $1`, name).
		Scan(&st, &st.Progress, &deleting, &st.Holder, &wanted, &done, &st.Disabled)
	if errors.Is(err, pgx.ErrNoRows) {
		return st, s.gone(ctx, name)
	}
	if err != nil {
		return st, err
	}
	st.Connection, st.SyncWanted, st.SyncDone = name, wanted, done
	if deleting {
		st.State = standDeleting
	}
	if st.State == "" {
		st.State = standNew
	}
	if st.Waiting, err = waitingObjects(ctx, s.pool, name, ""); err != nil {
		return st, err
	}
	if st.Remarks, err = nameRemarks(ctx, s.pool, nil, name); err != nil {
		return st, err
	}
	return st, s.countObjects(ctx, name, &st.Objects)
}

// countObjects is asked several times a second while somebody waits for a sync: with
// the few schemas first, so that no table looks its own up.
func (s *Store) countObjects(ctx context.Context, name string, n *ObjectCounts) error {
	return s.pool.QueryRow(ctx, `WITH c AS (SELECT id, kinds, enforce FROM portcullis.connections WHERE name = $1),
		s AS MATERIALIZED (SELECT s.id, coalesce(s.enforce, d.enforce, c.enforce) AS enforce FROM c JOIN portcullis.connection_objects s ON s.connection = c.id AND s.level = 'schema'
			JOIN portcullis.connection_objects d ON d.id = s.parent)
		SELECT count(*) FILTER (WHERE o.level = 'database' AND o.dropped IS NULL), count(*) FILTER (WHERE o.level = 'database' AND o.dropped IS NULL AND o.error IS NOT NULL),
			count(*) FILTER (WHERE o.level = 'schema' AND o.dropped IS NULL), count(*) FILTER (WHERE o.level = 'table' AND o.dropped IS NULL),
			count(*) FILTER (WHERE o.enforced), count(*) FILTER (WHERE o.enforced AND o.not_enforceable <> ''), count(*) FILTER (WHERE o.dropped IS NOT NULL)
		FROM (SELECT o.level, o.dropped, o.error, o.not_enforceable,
				o.level = 'table' AND o.dropped IS NULL AND o.kind = ANY (c.kinds) AND coalesce(o.enforce, s.enforce) AS enforced
			FROM c JOIN portcullis.connection_objects o ON o.connection = c.id LEFT JOIN s ON s.id = o.parent) o`, name).
		Scan(&n.Databases, &n.Unreadable, &n.Schemas, &n.Tables, &n.Enforced, &n.NotEnforceable, &n.Dropped)
}

// ConnectionFindings are what people reach beyond the policies by what others gave.
func (s *Store) ConnectionFindings(ctx context.Context, name string) ([]connection.Excess, error) {
	list := []connection.Excess{}
	err := s.ofStatus(ctx, name, "findings", &list)
	return listOrEmpty(list), err
}

// ConnectionAccounts is who is who on a connection, as the last round found.
func (s *Store) ConnectionAccounts(ctx context.Context, name string) (ConnectionAccounts, error) {
	var a ConnectionAccounts
	err := s.ofStatus(ctx, name, "accounts", &a)
	a.Accounts, a.Unmapped, a.Warnings = listOrEmpty(a.Accounts), listOrEmpty(a.Unmapped), listOrEmpty(a.Warnings)
	return a, err
}

func (s *Store) ofStatus(ctx context.Context, name, column string, v any) error {
	err := s.pool.QueryRow(ctx, `SELECT coalesce(t.`+column+`, 'null') FROM portcullis.connections c
		LEFT JOIN portcullis.connection_status t ON t.connection = c.id WHERE c.name = $1`, name).Scan(v)
	if errors.Is(err, pgx.ErrNoRows) {
		return notFound("connection", name)
	}
	return err
}

// storeStatus writes how a round went; findings and accounts stay where they are nil.
func (s *Store) storeStatus(ctx context.Context, connectionID string, st ConnectionStatus, findings []connection.Excess, accounts *ConnectionAccounts) error {
	st.Progress, st.Holder, st.Objects, st.SyncWanted, st.SyncDone = nil, "", ObjectCounts{}, 0, 0 // read when asked for
	st.Disabled, st.Waiting, st.Remarks = false, nil, nil
	var f any
	if findings != nil {
		f = findings
	}
	_, err := s.pool.Exec(ctx, `INSERT INTO portcullis.connection_status AS t (connection, body, findings, accounts)
		SELECT id, $2, coalesce($3::jsonb, '[]'), coalesce($4::jsonb, '{}') FROM portcullis.connections WHERE id = $1
		ON CONFLICT (connection) DO UPDATE SET body = EXCLUDED.body, progress = NULL, findings = coalesce($3::jsonb, t.findings), accounts = coalesce($4::jsonb, t.accounts)`,
		connectionID, st, f, jsonOrNil(accounts))
	return err
}

// storeProgress tells how far a crawl is.
func (s *Store) storeProgress(ctx context.Context, connectionID string, p crawl.Progress) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO portcullis.connection_status (connection, body, progress) VALUES ($1, '{}', $2)
		ON CONFLICT (connection) DO UPDATE SET progress = EXCLUDED.progress`, connectionID, p)
	return err
}
