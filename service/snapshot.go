package service

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"portcullis.dev/portcullis/policy"
	"portcullis.dev/portcullis/policy/parse"
)

// snapshot is all that decisions read, but for people, at one policy version.
type snapshot struct {
	version     int64
	dataSources map[string]*policy.DataSource // by id
	policies    []policy.Policy
	subscribed  map[string][]policy.Subscription // by data source id
	limits      map[string][]policy.LimitRule    // by name of the source
}

// snapshotCache keeps the newest snapshot.
type snapshotCache struct {
	mu     sync.Mutex
	newest *snapshot
}

// read runs f in a read-only transaction that sees one version throughout.
func (s *Store) read(ctx context.Context, f func(tx pgx.Tx, snap *snapshot) error) error {
	return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		snap, err := s.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		return f(tx, snap)
	})
}

func (s *Store) snapshot(ctx context.Context, tx pgx.Tx) (*snapshot, error) {
	var version int64
	if err := tx.QueryRow(ctx, "SELECT version FROM portcullis.policy_version").Scan(&version); err != nil {
		return nil, err
	}
	s.snapshots.mu.Lock()
	newest := s.snapshots.newest
	s.snapshots.mu.Unlock()
	if newest != nil && newest.version == version {
		return newest, nil
	}
	snap, err := s.load(ctx, tx, version)
	if err != nil {
		return nil, fmt.Errorf("load policies: %w", err)
	}
	s.snapshots.mu.Lock()
	if s.snapshots.newest == nil || s.snapshots.newest.version < version {
		s.snapshots.newest = snap
	}
	s.snapshots.mu.Unlock()
	return snap, nil
}

func (s *Store) load(ctx context.Context, tx pgx.Tx, version int64) (*snapshot, error) {
	snap := &snapshot{version: version, dataSources: map[string]*policy.DataSource{}, subscribed: map[string][]policy.Subscription{}}
	all, err := loadDataSources(ctx, tx, s)
	if err != nil {
		return nil, err
	}
	for _, ds := range all {
		snap.dataSources[ds.ID] = ds
	}
	if snap.policies, err = loadPolicies(ctx, tx); err != nil {
		return nil, err
	}
	if snap.limits, err = loadLimits(ctx, tx); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT s.data_source::text, p.iamid, p.userid, s.expires FROM portcullis.subscriptions s JOIN portcullis.people p ON p.id = s.person_id`)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var sub policy.Subscription
		var expires *time.Time
		if err := rows.Scan(&sub.DataSource, &sub.Person.IAMID, &sub.Person.UserID, &expires); err != nil {
			rows.Close()
			return nil, err
		}
		if expires != nil {
			sub.Expires = *expires
		}
		snap.subscribed[sub.DataSource] = append(snap.subscribed[sub.DataSource], sub)
	}
	return snap, rows.Err()
}

func loadDataSources(ctx context.Context, q querier, s *Store) ([]*policy.DataSource, error) {
	list, err := listDataSources(ctx, q, nil)
	if err != nil {
		return nil, err
	}
	keys, err := loadHashKeys(ctx, q, s)
	if err != nil {
		return nil, err
	}
	out := make([]*policy.DataSource, 0, len(list))
	for _, d := range list {
		tolerance, err := time.ParseDuration(d.LatencyTolerance)
		if err != nil {
			return nil, err
		}
		ds := &policy.DataSource{
			ID: d.ID, Name: d.Name, Source: d.Source, RemoteSchema: d.RemoteSchema, RemoteTable: d.RemoteTable, Tags: d.Tags, Unmanaged: d.Unmanaged,
			Discoverable: d.Discoverable, Tolerance: tolerance, Contact: contactOf(d), HashKey: keys[d.ID],
		}
		for _, c := range d.Columns {
			ds.Columns = append(ds.Columns, policy.TaggedColumn{Column: policy.Column{Name: c.Name, Type: c.Type}, Tags: c.Tags, Unconfirmed: c.Unconfirmed})
		}
		out = append(out, ds)
	}
	return out, nil
}

func contactOf(d DataSource) string {
	if d.Contact != "" {
		return d.Contact
	}
	return d.Owner
}

func loadHashKeys(ctx context.Context, q querier, s *Store) (map[string][]byte, error) {
	rows, err := q.Query(ctx, "SELECT id::text, sealed_hash_key FROM portcullis.data_sources")
	if err != nil {
		return nil, err
	}
	keys := map[string][]byte{}
	var id, sealed string
	_, err = pgx.ForEachRow(rows, []any{&id, &sealed}, func() error {
		key, err := s.key.Unseal(sealed)
		if err != nil {
			return fmt.Errorf("hash key of data source %s: %w", id, err)
		}
		keys[id] = key
		return nil
	})
	return keys, err
}

func loadPolicies(ctx context.Context, q querier) ([]policy.Policy, error) {
	list, err := listPolicies(ctx, q, nil)
	if err != nil {
		return nil, err
	}
	out := make([]policy.Policy, 0, len(list))
	var refs []policy.Reference
	for i := range list {
		out = append(out, list[i].model(int64(i)))
		refs = append(refs, out[i].References()...)
	}
	return out, closeDangling(ctx, q, refs)
}

// model makes the policy model's policy.
func (p *Policy) model(order int64) policy.Policy {
	m := policy.Policy{
		ID: p.ID, Version: p.Version, Name: p.Name, Kind: p.Kind, Order: order, On: p.On,
		Who: p.Who, Access: p.Access, Except: p.Except, Final: p.Final,
	}
	if p.Columns != nil {
		m.Columns = *p.Columns
	}
	if p.Mask != nil {
		m.Mask = *p.Mask
	}
	if p.Kind == policy.KindFilter {
		// An unreadable condition stays nil, which denies where it applies.
		m.Filter, _ = parse.Condition(p.Filter)
	}
	return m
}
