package dial

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
)

// Probe says what answers at the target. The facts come together with the
// error that refuses them, if one does: a replica, a pooler, a version.
func (d *Dialer) Probe(ctx context.Context, t connection.Target) (connection.Server, error) {
	conn, err := d.open(ctx, t, "")
	if err != nil {
		if e := Explain(err, t); e.Code == CodePooler {
			return connection.Server{Pooler: "pgbouncer"}, e
		}
		return connection.Server{}, err
	}
	s, pid, err := look(ctx, conn)
	if err != nil {
		return s, closeAfter(ctx, conn, Explain(err, t))
	}
	greeted := conn.PgConn().PID()
	if err := conn.Close(ctx); err != nil {
		return s, Explain(err, t)
	}
	if greeted != pid {
		s.Pooler = d.between(ctx, t)
	}
	return s, Refuse(s, t)
}

// look reads what every account may read.
func look(ctx context.Context, conn *pgx.Conn) (s connection.Server, pid uint32, err error) {
	err = conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), pg_backend_pid()::bigint").
		Scan(&s.Version, &s.Replica, &pid)
	if err != nil {
		return s, 0, fmt.Errorf("reading the version: %w", err)
	}
	s.SystemID, err = systemID(ctx, conn)
	return s, pid, err
}

// systemID is the system identifier of the cluster. Where a provider took the
// function away it is a digest of facts that do not change while the database
// lives: OIDs and creating transactions of the database and of its owner's and
// the template's entries. Such an identifier begins with "facts:", and two
// instances that a script made alike may share one; so it can tell that two
// spellings may be one instance, but not that they are.
func systemID(ctx context.Context, conn *pgx.Conn) (string, error) {
	var id string
	err := conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_control_system()").Scan(&id)
	var refused *pgconn.PgError
	if err == nil || !errors.As(err, &refused) || refused.Code != "42501" {
		return id, err
	}
	var facts string
	err = conn.QueryRow(ctx, `
		SELECT concat_ws('/', d.oid, d.datname, d.datdba, d.datcollate, d.datctype, d.encoding, current_setting('cluster_name'),
			inet_server_port(), (SELECT string_agg(oid || ':' || datname, ',' ORDER BY oid) FROM pg_database WHERE datistemplate))
		FROM pg_database d WHERE datname = current_database()`).Scan(&facts)
	if err != nil {
		return "", fmt.Errorf("reading facts of the instance: %w", err)
	}
	digest := sha256.Sum256([]byte(facts))
	return "facts:" + hex.EncodeToString(digest[:12]), nil
}

// between names what stands between us and the instance. The process that
// greeted us is not the one that answers: a pooler keeps cancel keys of its
// own. So does Neon's proxy, which holds one session for one client all the same.
func (d *Dialer) between(ctx context.Context, t connection.Target) string {
	if t.Provider == connection.ProviderNeon && !strings.Contains(t.Host, "-pooler") {
		return ""
	}
	conn, err := d.open(ctx, t, "pgbouncer") // its console; to PostgreSQL a database that is not there
	if err == nil {
		_ = conn.Close(ctx)
		return "pgbouncer"
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Routine == "" { // PostgreSQL names its function, pgbouncer has none
		return "pgbouncer"
	}
	return "unknown"
}

// Refuse is the reason why an instance cannot be enforced on, nil if it can.
func Refuse(s connection.Server, t connection.Target) error {
	if e := refuseVersion(s.Version, strconv.Itoa(s.Version/10000)); e != nil {
		return e
	}
	switch {
	case s.Pooler == "unknown":
		return &connection.Error{Code: CodePooler, Message: "a connection pooler answers at " + where(t), Hint: poolerHint}
	case s.Pooler != "":
		return &connection.Error{Code: CodePooler, Message: s.Pooler + " answers at " + where(t), Hint: poolerHint}
	case s.Replica:
		return &connection.Error{Code: CodeReplica, Message: where(t) + " is a read replica", Hint: replicaHint}
	}
	return nil
}

func refuseVersion(num int, name string) error {
	if major := num / 10000; major < minVersion || major > maxVersion {
		return &connection.Error{Code: CodeVersion, Message: "PostgreSQL " + name + " is not supported",
			Hint: "Versions " + supportedVersion + " are."}
	}
	return nil
}

// refuseByGreeting judges by what the server reported without being asked.
func refuseByGreeting(conn *pgx.Conn, t connection.Target) error {
	version := conn.PgConn().ParameterStatus("server_version")
	major, _, _ := strings.Cut(version, ".")
	digits := strings.IndexFunc(major, func(r rune) bool { return r < '0' || r > '9' }) // "18beta1"
	if digits >= 0 {
		major = major[:digits]
	}
	if n, err := strconv.Atoi(major); err == nil {
		if err := refuseVersion(n*10000, version); err != nil {
			return err
		}
	}
	if conn.PgConn().ParameterStatus("in_hot_standby") == "on" {
		return Refuse(connection.Server{Version: minVersion * 10000, Replica: true}, t)
	}
	return nil
}
