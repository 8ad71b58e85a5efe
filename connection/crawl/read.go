package crawl

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection"
)

// fetchRows is how many objects one round trip brings.
const fetchRows = 1000

// foundSchema is a schema with what the digest query says of it.
type foundSchema struct {
	connection.Schema
	objects   int
	unspelled bool // its name is not UTF-8
}

// read reads the schemas of a database from one snapshot.
func (c *crawler) read(ctx context.Context, db connection.Database) (schemas []connection.Schema, left connection.LeftOut, err error) {
	conn, err := c.o.Open(ctx, db.Name)
	if err != nil {
		return nil, left, err
	}
	defer conn.Close(ctx)
	if err := begin(ctx, conn, c.o); err != nil {
		return nil, left, err
	}
	f, err := readFacts(ctx, conn, c.o.Target)
	if err != nil {
		return nil, left, err
	}
	// A database that was dropped and made anew since it was listed is another.
	if f.database != db.OID {
		return nil, left, &connection.Error{Code: "database_gone", Message: fmt.Sprintf("database %q was replaced while it was read", db.Name)}
	}
	if left, err = readLeftOut(ctx, conn, f); err != nil {
		return nil, left, err
	}
	found, err := c.digests(ctx, conn, f)
	if err != nil {
		return nil, left, err
	}
	var changed []uint32
	byOID := make(map[uint32]*foundSchema, len(found))
	objects := 0
	for i := range found {
		s := &found[i]
		byOID[s.OID] = s
		if had, ok := c.o.Since[db.OID][s.OID]; !ok || had != s.Digest {
			changed, objects = append(changed, s.OID), objects+s.objects
		}
	}
	c.report(func(p *Progress) { p.Database, p.Objects = db.Name, p.Objects+objects })
	if len(changed) > 0 {
		if err := c.objects(ctx, conn, db, f, changed, byOID); err != nil {
			return nil, left, err
		}
	}
	schemas = make([]connection.Schema, len(found))
	for i := range found {
		schemas[i] = found[i].Schema
	}
	// Rolled back: a commit would run what somebody's code had put off to it.
	_, err = conn.Exec(ctx, "ROLLBACK", pgx.QueryExecModeExec)
	return schemas, left, err
}

func readLeftOut(ctx context.Context, conn *pgx.Conn, f facts) (left connection.LeftOut, err error) {
	rows, err := conn.Query(ctx, f.sql(leftOutSQL), pgx.QueryExecModeExec)
	if err != nil {
		return left, err
	}
	var schema uint32
	var tables []uint32
	_, err = pgx.ForEachRow(rows, []any{&schema, &tables}, func() error {
		left.Schemas, left.Tables = append(left.Schemas, schema), append(left.Tables, tables...)
		return nil
	})
	return left, err
}

// begin opens the snapshot. The fixed search path makes type names the same for
// every account, and lets nobody put functions of theirs in place of PostgreSQL's.
// What SQL_ASCII holds cannot be converted, so it comes as it is: see clean.
func begin(ctx context.Context, conn *pgx.Conn, o Options) error {
	_, err := conn.PgConn().Exec(ctx, fmt.Sprintf(`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
		SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL statement_timeout = %d;
		SET LOCAL idle_in_transaction_session_timeout = '5min'; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0;
		SELECT set_config('client_encoding', CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END, true)`,
		or(o.Timeout, time.Minute).Milliseconds())).ReadAll()
	return err
}

// digests lists the schemas.
func (c *crawler) digests(ctx context.Context, conn *pgx.Conn, f facts) ([]foundSchema, error) {
	rows, err := conn.Query(ctx, f.sql(digestsSQL), pgx.QueryExecModeExec, f.grantor, c.seed)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (foundSchema, error) {
		var s foundSchema
		var sum string
		err := row.Scan(&s.OID, &s.Name, &s.Owner, &s.objects, &sum)
		name, ok := clean(s.Name)
		s.Name, s.Owner, s.unspelled = name, cleaned(s.Owner), !ok
		s.Digest = strconv.FormatInt(c.seed, 36) + ":" + f.mark + ":" + sum
		return s, err
	})
}

// objects reads the changed schemas in order and hands each on when it is complete.
func (c *crawler) objects(ctx context.Context, conn *pgx.Conn, db connection.Database, f facts, changed []uint32, byOID map[uint32]*foundSchema) error {
	slices.Sort(changed)
	labels, err := readLabels(ctx, conn, changed)
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "DECLARE portcullis_crawl NO SCROLL CURSOR FOR "+f.sql(objectsSQL), pgx.QueryExecModeExec, f.grantor, changed); err != nil {
		return err
	}
	// A prepared statement answers in binary, where bytes that are not UTF-8 survive in arrays.
	fetch, err := conn.Prepare(ctx, "portcullis_fetch", "FETCH "+strconv.Itoa(fetchRows)+" FROM portcullis_crawl")
	if err != nil {
		return err
	}
	next, names := 0, interned{}
	// finish hands on the schemas before one that begins.
	finish := func(until uint32) error {
		for ; next < len(changed) && changed[next] < until; next++ {
			s := byOID[changed[next]]
			if s.Objects == nil {
				s.Objects = []connection.Object{} // read, and empty
			}
			if err := c.handOn(ctx, db, s); err != nil {
				return err
			}
		}
		return nil
	}
	for {
		got := 0
		rows, err := conn.Query(ctx, fetch.Name)
		if err != nil {
			return err
		}
		page := make([]relation, 0, fetchRows)
		for rows.Next() {
			var r relation
			if err := r.scan(rows); err != nil {
				rows.Close()
				return err
			}
			page = append(page, r)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		for _, r := range page {
			got++
			if err := finish(r.schema); err != nil {
				return err
			}
			s := byOID[r.schema]
			s.Objects = append(s.Objects, r.object(db, s, f, labels, names))
		}
		c.report(func(p *Progress) { p.Database, p.ObjectsDone = db.Name, p.ObjectsDone+got })
		if got < fetchRows {
			return finish(^uint32(0))
		}
	}
}

// handOn gives a complete schema to the caller's Visit and keeps nothing of it.
func (c *crawler) handOn(ctx context.Context, db connection.Database, s *foundSchema) error {
	if c.o.Visit == nil {
		return nil
	}
	c.visit.Lock()
	defer c.visit.Unlock()
	if err := c.o.Visit(ctx, db, s.Schema); err != nil {
		return errVisit{err}
	}
	s.Objects = nil
	return nil
}

// seedOf takes the seed of the digests of an earlier crawl, or a new one. It
// keeps owners of tables from choosing names that make two digests equal.
func seedOf(since Digests) int64 {
	for _, schemas := range since {
		for _, digest := range schemas {
			text, _, _ := strings.Cut(digest, ":")
			if seed, err := strconv.ParseInt(text, 36, 64); err == nil {
				return seed
			}
		}
	}
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // documented never to fail on Linux
	}
	return int64(binary.LittleEndian.Uint64(b[:]) >> 1)
}
