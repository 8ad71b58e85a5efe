package crawl

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
	"portcullis.dev/portcullis/internal/sqltext"
)

// Databases of the system are left out: template0 takes no connections, what
// lies in template1 is copied where it counts, rdsadmin is Amazon's own.
const databasesLeftOut = "('template0', 'template1', 'rdsadmin')"

const databasesSQL = `SELECT d.oid, d.datname, pg_get_userbyid(d.datdba), d.datallowconn, d.datconnlimit = -2,
	has_database_privilege(d.oid, 'CONNECT'), pg_encoding_to_char(d.encoding)
	FROM pg_database d WHERE d.datname NOT IN ` + databasesLeftOut + ` ORDER BY d.oid`

// listDatabases sets Err where there is no use in connecting.
func listDatabases(ctx context.Context, o Options) ([]connection.Database, error) {
	conn, err := o.Open(ctx, o.Target.Database)
	if err != nil {
		return nil, explain(o.Target.Database, err)
	}
	defer conn.Close(ctx)
	if err := begin(ctx, conn, o); err != nil {
		return nil, explain(o.Target.Database, err)
	}
	rows, err := conn.Query(ctx, databasesSQL, pgx.QueryExecModeExec)
	if err != nil {
		return nil, explain(o.Target.Database, err)
	}
	list, err := pgx.CollectRows(rows, scanDatabase)
	if err != nil {
		return nil, explain(o.Target.Database, err)
	}
	if o.LeftOut == nil {
		return list, nil
	}
	rows, err = conn.Query(ctx, "SELECT oid FROM pg_database WHERE datname IN "+databasesLeftOut, pgx.QueryExecModeExec)
	if err != nil {
		return nil, explain(o.Target.Database, err)
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return nil, explain(o.Target.Database, err)
	}
	o.LeftOut(left)
	return list, nil
}

func scanDatabase(row pgx.CollectableRow) (connection.Database, error) {
	var db connection.Database
	var allowed, halfDropped, connect bool
	var encoding string
	if err := row.Scan(&db.OID, &db.Name, &db.Owner, &allowed, &halfDropped, &connect, &encoding); err != nil {
		return db, err
	}
	name, ok := clean(db.Name)
	db.Name, db.Owner = name, cleaned(db.Owner)
	switch {
	case !ok:
		db.Err = &connection.Error{Code: "encoding", Message: fmt.Sprintf("the name of database %s is not UTF-8", name),
			Hint: "Rename it: ALTER DATABASE … RENAME TO …."}
	case halfDropped:
		db.Err = &connection.Error{Code: "database_invalid", Message: fmt.Sprintf("database %q is invalid: DROP DATABASE was interrupted", name),
			Hint: "Drop it again: DROP DATABASE " + sqltext.Identifier(name) + ";"}
	case !allowed:
		db.Err = &connection.Error{Code: "database_closed", Message: fmt.Sprintf("database %q takes no connections", name),
			Hint: "To open it: ALTER DATABASE " + sqltext.Identifier(name) + " ALLOW_CONNECTIONS true;"}
	case !connect:
		db.Err = &connection.Error{Code: "missing_privilege", Message: fmt.Sprintf("the system account may not connect to database %q", name),
			Hint: "To allow it: GRANT CONNECT ON DATABASE " + sqltext.Identifier(name) + " TO the system account."}
	case encoding == "MULE_INTERNAL": // the only one that PostgreSQL cannot convert to UTF-8
		db.Err = &connection.Error{Code: "encoding", Message: fmt.Sprintf("database %q has the encoding MULE_INTERNAL, which PostgreSQL cannot convert to UTF-8", name),
			Hint: "Dump it and restore it into a database with the encoding UTF8."}
	}
	return db, nil
}
