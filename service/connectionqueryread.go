package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/connection/queryaudit"
)

const (
	queryReadEvery   = 10 * time.Second
	queryReadTurn    = time.Minute // longest turn on one instance
	queryReadBatches = 32          // in one turn
	queryReaders     = 4           // instances at once
)

// queryTurn is a turn of reading on one instance, which no other service takes meanwhile.
type queryTurn struct {
	id       string // of the connection
	who      string
	position *queryaudit.Position // nil: never read
}

// auditQueries reads the logs of instances into the audit until ctx ends.
func (c *Connections) auditQueries(ctx context.Context) {
	var turns sync.WaitGroup
	defer turns.Wait()
	free := make(chan struct{}, queryReaders)
	for ctx.Err() == nil {
		turn, err := c.store.takeQueryTurn(ctx)
		if err != nil && ctx.Err() == nil {
			c.log.Warn("cannot see whose log is due", "error", err)
		}
		if turn == nil {
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		free <- struct{}{}
		turns.Go(func() {
			defer func() { <-free }()
			c.readQueries(ctx, *turn)
		})
	}
}

// takeQueryTurn returns what is due, nil if nothing is.
func (s *Store) takeQueryTurn(ctx context.Context) (*queryTurn, error) {
	t := &queryTurn{}
	err := s.pool.QueryRow(ctx, `UPDATE portcullis.connection_query_audits SET due = clock_timestamp() + $1::interval WHERE connection = (
			SELECT a.connection FROM portcullis.connection_query_audits a JOIN portcullis.connections c ON c.id = a.connection AND NOT c.deleting AND c.system_id IS NOT NULL
			WHERE a.due <= clock_timestamp() ORDER BY a.due LIMIT 1 FOR UPDATE OF a SKIP LOCKED)
		RETURNING connection::text, who, position`, 2*queryReadTurn).Scan(&t.id, &t.who, &t.position)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// readQueries takes one turn and writes down how it went.
func (c *Connections) readQueries(ctx context.Context, t queryTurn) {
	turn, cancel := context.WithTimeout(ctx, queryReadTurn)
	defer cancel()
	err := c.store.readQueries(turn, c, t)
	if ctx.Err() != nil {
		return
	}
	var told any
	if err != nil {
		told = asInstanceError(err)
		c.log.Warn("the log of a connection's instance could not be read", "connection", t.id, "error", err)
	}
	if _, err := c.store.pool.Exec(ctx, `UPDATE portcullis.connection_query_audits SET due = clock_timestamp() + $2::interval, error = $3 WHERE connection = $1`,
		t.id, queryReadEvery, told); err != nil {
		c.log.Warn("cannot write down how reading a log went", "connection", t.id, "error", err)
	}
}

func (s *Store) readQueries(ctx context.Context, c *Connections, t queryTurn) error {
	list, err := listConnections(ctx, s.pool, []string{t.id})
	if err != nil || len(list) == 0 {
		return err
	}
	v := list[0]
	target, err := s.target(ctx, v)
	if err != nil {
		return err
	}
	accounts, err := s.ConnectionAccounts(ctx, v.Name)
	if err != nil {
		return err
	}
	people := map[string]string{}
	for _, a := range accounts.Accounts {
		people[a.Role] = a.Person
	}
	conn, err := c.reach.dialer().Connect(ctx, target, "")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	log := queryaudit.Remote{Conn: conn, Name: v.Name}
	zone, err := log.Zone(ctx)
	if err != nil {
		return err
	}
	r := &queryaudit.Reader{Log: log, Instance: v.systemID, Zone: zone, Everybody: t.who == auditEverybody,
		Person: func(role string) string { return people[role] }}
	if t.position == nil {
		end, err := r.End(ctx)
		if err != nil {
			return err
		}
		return s.keepQueryPosition(ctx, t.id, end, queryaudit.Batch{})
	}
	return s.readBatches(ctx, r, t, v.Name, target.Username)
}

// readBatches stores what is there, batch by batch: first the records, then
// the position. A crash in between repeats records, which have the same ids.
func (s *Store) readBatches(ctx context.Context, r *queryaudit.Reader, t queryTurn, name, account string) error {
	at := *t.position
	for range queryReadBatches {
		b, err := r.Read(ctx, at)
		if err != nil {
			return err
		}
		var lines bytes.Buffer
		encode := json.NewEncoder(&lines)
		for _, record := range b.Records {
			if record.Role == account {
				continue // our own sessions have their own account of what they did
			}
			if err := encode.Encode(record); err != nil {
				return err
			}
		}
		if lines.Len() > 0 {
			reply, err := s.StoreAudit(ctx, "connection/"+name, &lines)
			if err != nil {
				return fmt.Errorf("storing records: %w", err)
			}
			b.Damaged += len(reply.Refused)
		}
		if err := s.keepQueryPosition(ctx, t.id, b.Next, b); err != nil || !b.More {
			return err
		}
		at = b.Next
	}
	return nil
}

func (s *Store) keepQueryPosition(ctx context.Context, id string, at queryaudit.Position, b queryaudit.Batch) error {
	_, err := s.pool.Exec(ctx, `UPDATE portcullis.connection_query_audits SET position = $2, last_read = clock_timestamp(), records = records + $3, damaged = damaged + $4,
		lost = coalesce(nullif($5, ''), lost) WHERE connection = $1`, id, at, len(b.Records), b.Damaged, b.Lost)
	return err
}
