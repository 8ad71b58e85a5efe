package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"portcullis.dev/portcullis/internal/testenv"
)

const (
	largeSchemas  = 1_000
	largeTables   = 100_000
	largePeople   = 10_000
	largePolicies = 20
	largeSingles  = 10_000 // tables with an individual subscription each
)

// large prints how the service does with 100,000 tables in 1,000 schemas and
// 10,000 people with accounts: 20 subscription policies, each for 5,000 tables
// and 1,000 people, then 10,000 individual subscriptions. It takes minutes, so
// it is measured only when it is named.
func large(ctx context.Context, i *installation) error {
	l := &largeInstance{installation: i}
	for _, step := range []func(context.Context) error{l.start, l.fill, l.define, l.register, l.tag, l.rounds, l.single, l.takeBack} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

type largeInstance struct {
	*installation
	pg  *testenv.Postgres
	dba string
}

// start takes a version on which who makes roles is a member of them.
func (l *largeInstance) start(ctx context.Context) (err error) {
	if l.pg, err = l.env.StartServer(ctx, testenv.ServerOptions{Major: 17, Name: "large", Settings: map[string]string{"max_locks_per_transaction": "1000"}}); err != nil {
		return err
	}
	l.dba = filepath.Join(l.env.Dir, "large.dba")
	return os.WriteFile(l.dba, []byte(l.pg.Password), 0o600)
}

func (l *largeInstance) fill(ctx context.Context) error {
	begun, told := time.Now(), time.Now()
	if err := l.pg.Exec(ctx, "postgres", fmt.Sprintf(`CREATE ROLE reader LOGIN PASSWORD 'reader';
		DO $$ BEGIN FOR p IN 1..%d LOOP EXECUTE format('CREATE ROLE person%%s LOGIN', p); END LOOP; END $$`, largePeople)); err != nil {
		return err
	}
	conn, err := l.pg.Connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for s := range largeSchemas {
		if _, err := conn.Exec(ctx, fmt.Sprintf(`DO $$ BEGIN CREATE SCHEMA s%[1]d; FOR t IN 1..%[2]d LOOP
			EXECUTE format('CREATE TABLE s%[1]d.t%%s (id bigint, name text)', t); END LOOP; END $$`, s+1, largeTables/largeSchemas)); err != nil {
			return err
		}
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			fmt.Printf("large: %d of %d tables are made …\n", (s+1)*largeTables/largeSchemas, largeTables)
		}
	}
	if _, err := conn.Exec(ctx, "ANALYZE"); err != nil {
		return err
	}
	l.tell("%d tables in %d schemas and %d roles are made", time.Since(begun), largeTables, largeSchemas, largePeople)
	return nil
}

func (l *largeInstance) tell(what string, took time.Duration, args ...any) {
	fmt.Printf("large: %s: %.1f s\n", fmt.Sprintf(what, args...), took.Seconds())
}

// define states people and policies.
func (l *largeInstance) define(ctx context.Context) error {
	var b strings.Builder
	b.WriteString("people:\n  - {userid: reader}\n")
	for p := range largePeople {
		fmt.Fprintf(&b, "  - {userid: person%d, groups: [g%d, g%d]}\n", p+1, p%largePolicies, p/largePolicies%largePolicies)
	}
	b.WriteString("groups:\n")
	for g := range largePolicies {
		fmt.Fprintf(&b, "  - {name: g%d}\n", g)
	}
	b.WriteString("policies:\n")
	for g := range largePolicies {
		fmt.Fprintf(&b, "  - {name: p%d, kind: subscription, on: {tags: [T%[1]d]}, who: {group: g%[1]d}}\n", g)
	}
	return l.apply(ctx, "large.yaml", b.String())
}

// tag brings the schemas under the policies.
func (l *largeInstance) tag(ctx context.Context) error {
	var b strings.Builder
	b.WriteString("connection_objects:\n")
	for s := range largeSchemas {
		fmt.Fprintf(&b, "  - {name: bench.postgres.s%d, tags: [T%d]}\n", s+1, s%largePolicies)
	}
	return l.measured(ctx, fmt.Sprintf("%d policies, each for %d tables, are in force", largePolicies, largeTables/largePolicies), func() error {
		if err := l.apply(ctx, "tags.yaml", b.String()); err != nil {
			return err
		}
		return l.sync(ctx)
	})
}

func (l *largeInstance) apply(ctx context.Context, name, text string) error {
	name = filepath.Join(l.env.Dir, name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		return err
	}
	_, err := l.engine.Service.CLI(ctx, "apply", "-f", name)
	return err
}

// measured runs f and tells how long it took and the most private memory of the
// service meanwhile.
func (l *largeInstance) measured(ctx context.Context, what string, f func() error) error {
	var took time.Duration
	memory, err := peak(ctx, uint32(l.engine.Service.PID()), func() (err error) {
		took, err = timed(f)
		return err
	})
	if err == nil {
		l.tell("%s, the service takes at most %d MB", took, what, memory>>10)
	}
	return err
}

func (l *largeInstance) cli(ctx context.Context, args ...string) error {
	_, err := l.engine.Service.CLI(ctx, append([]string{"connection"}, args...)...)
	return err
}

// sync has one schema read again and waits for the round.
func (l *largeInstance) sync(ctx context.Context) error {
	return l.cli(ctx, "sync", "bench", "--object", "bench.postgres.s1")
}

func (l *largeInstance) register(ctx context.Context) error {
	return l.measured(ctx, "registered and crawled", func() error {
		return l.cli(ctx, "add", "bench", "--host", l.pg.Host, "--port", fmt.Sprint(l.pg.Port), "--tls", "disable",
			"--map-by", "userid", "--setup-user", l.pg.User, "--setup-password-file", l.dba)
	})
}

// rounds has nothing new to find, then one subscription.
func (l *largeInstance) rounds(ctx context.Context) error {
	if err := l.measured(ctx, "a sync that finds nothing new", func() error { return l.sync(ctx) }); err != nil {
		return err
	}
	return l.subscriptions(ctx)
}

func (l *largeInstance) subscriptions(ctx context.Context) error {
	return l.measured(ctx, "five subscriptions, each until it is visible, and gone", func() error {
		visible, err := l.subscribing(ctx, l.pg)
		l.tell("one subscription is visible", visible)
		return err
	})
}

// single subscribes one person to each of many tables, by one state.
func (l *largeInstance) single(ctx context.Context) error {
	var b strings.Builder
	b.WriteString("subscriptions:\n")
	for t := range largeSingles {
		fmt.Fprintf(&b, "  - {data_source: bench.postgres.s%d.t%d, userid: person%d}\n", t%largeSchemas+1, t/largeSchemas+1, t%largePeople+1)
	}
	if err := l.measured(ctx, fmt.Sprintf("%d individual subscriptions are stated", largeSingles), func() error {
		return l.apply(ctx, "singles.yaml", b.String())
	}); err != nil {
		return err
	}
	if err := l.measured(ctx, "they are in force", func() error { return l.sync(ctx) }); err != nil {
		return err
	}
	return l.subscriptions(ctx)
}

func (l *largeInstance) takeBack(ctx context.Context) error {
	return l.measured(ctx, "all is taken back and forgotten", func() error { return l.cli(ctx, "delete", "bench") })
}
