package dial

import (
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
)

// explainRemote goes by SQLSTATE and by the server's function, since messages
// are translated. Poolers send neither file nor function.
func explainRemote(r *pgconn.PgError, t connection.Target) *connection.Error {
	e := &connection.Error{SQLState: r.Code, Detail: r.Message, Err: r}
	set := func(code, message, hint string) { e.Code, e.Message, e.Hint = code, message, hint }
	at := where(t)
	switch {
	case r.Code == "08P01" && r.Routine == "": // its code for all that it refuses itself, passwords too
		set(CodePooler, "pgbouncer answers at "+at, poolerHint)
	case r.Code == "28P01":
		set(CodeCredentials, "user name or password are wrong", "The account is "+t.Username+"; PostgreSQL does not tell which of the two it is.")
		if t.AWS != nil {
			e.Hint = "The instance refused the token: check that IAM authentication is on, that " + t.Username +
				" has rds_iam, and that the role may rds-db:connect as it."
		}
	case r.Code == "28000" && r.Routine == "ClientAuthentication":
		set(CodeHBA, "pg_hba.conf of the instance lets "+t.Username+" not in from here", "A DBA adds a hostssl line for this account, its databases and the address of the service.")
	case r.Code == "28000":
		set(CodeNoLogin, "the instance does not let "+t.Username+" log in", "Check that the role exists and has LOGIN.")
	case r.Code == "3D000", r.Code == "55000" && r.Routine == "CheckMyDatabase", r.Code == "55000" && r.Routine == "InitPostgres":
		set(CodeDatabase, "the database is not there or takes no connections", "Check its name; it is case-sensitive.")
	case r.Code == "53300":
		set(CodeTooMany, "the instance takes no more connections", "Raise max_connections or the limit of the role or database, or close sessions.")
	case r.Code == "57P03" && strings.Contains(r.Detail, "hot standby"):
		set(CodeReplica, at+" is a standby", replicaHint)
	case r.Code == "57P03", r.Code == "57P01":
		set(CodeStarting, "the instance is starting up or shutting down", "It is tried again.")
	case r.Code == "25006":
		set(CodeReplica, at+" is read-only", replicaHint)
	case r.Code == "42501":
		set(CodePrivilege, t.Username+" lacks a privilege", "`"+t.ScriptCommand("")+"` prints what grants all that it needs.")
	default:
		set(CodeRemote, "the instance refused", r.Hint)
	}
	return e
}

const (
	poolerHint = "Give host and port of PostgreSQL itself: settings of a session and the account's grants must not be shared with other clients."
	// The writer is what people's grants are made on; replicas follow by themselves.
	replicaHint = "Register the primary (the writer endpoint); its replicas follow by themselves."
)
