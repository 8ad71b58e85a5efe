package service

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"portcullis.dev/portcullis/connection"
)

// TestACrawlGivesWayToAChange: a crawl and the change of a person that wait for each
// other both succeed, the person's first.
func TestACrawlGivesWayToAChange(t *testing.T) {
	s := see(t, storeOnly(t), "shop", database(1, "app", schema(10, "public", table(100, "a"), table(101, "b"))))
	commented := func(oid uint32, name string) connection.Object {
		o := table(oid, name)
		o.Comment = "another"
		return o
	}
	crawled := make(chan error, 1)
	_, err := s.f.store.Change(t.Context(), "test", func(c *change) error {
		put := func(name string) error {
			return putObjectSettings(t.Context(), c, &ObjectSettings{Name: name, State: stateInherit, Tags: []string{"T"}})
		}
		if err := put("shop.app.public.b"); err != nil {
			return err
		}
		go func() {
			crawled <- s.crawlOnce(t.Context(), 1000, []connection.Database{database(1, "app", schema(10, "public", commented(100, "a"), commented(101, "b")))})
		}()
		if err := s.waited(t.Context()); err != nil { // it holds a and waits for b
			return err
		}
		return put("shop.app.public.a")
	})
	if crawl := <-crawled; err != nil || crawl != nil {
		t.Fatalf("the change: %v; the crawl: %v", err, crawl)
	}
	if a, b := s.object(t, "shop.app.public.a"), s.object(t, "shop.app.public.b"); a.Comment+b.Comment != "anotheranother" || len(a.Tags)+len(b.Tags) != 2 {
		t.Errorf("after both: %+v %+v", a, b)
	}
}

// waited waits until somebody waits for a lock in the store.
func (s *seen) waited(ctx context.Context) error {
	for {
		var waits bool
		if err := s.f.store.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waits); err != nil || waits {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// TestSettingsAreNotKeptFromWhatIsSeenMeanwhile: a crawl that writes a table while its
// settings are being stated misses them, and they are its own all the same.
func TestSettingsAreNotKeptFromWhatIsSeenMeanwhile(t *testing.T) {
	s := see(t, storeOnly(t), "shop")
	_, err := s.f.store.Change(t.Context(), "test", func(c *change) error {
		if err := putObjectSettings(t.Context(), c, &ObjectSettings{Name: "shop.app.public.a", State: stateInherit, Tags: []string{"PII"}}); err != nil {
			return err
		}
		return s.crawlOnce(t.Context(), 1, []connection.Database{database(1, "app", schema(10, "public", table(100, "a")))})
	})
	if err != nil {
		t.Fatal(err)
	}
	if o := s.object(t, "shop.app.public.a"); len(o.Tags) != 1 {
		t.Errorf("%+v", o)
	}
}

// TestSettingsThatWaitTakeNothingOff: a table that is renamed to a name for which settings
// wait gets these beside what it had, and a new table these alone.
func TestSettingsThatWaitTakeNothingOff(t *testing.T) {
	s := see(t, storeOnly(t), "shop", database(1, "app", schema(10, "public", table(100, "orders", "id", "email"))))
	column := func(name string, tags ...string) []ColumnTags { return []ColumnTags{{Name: name, Tags: tags}} }
	s.settings(t, ObjectSettings{Name: "shop.app.public.orders", State: stateDisable, Tags: []string{"Sales"}, Columns: column("email", "PII")},
		ObjectSettings{Name: "shop.app.public.open", Tags: []string{"Open"}, Columns: column("id", "Open")}, ObjectSettings{Name: "shop.app.public.new", Tags: []string{"Open"}})
	s.crawl(t, database(1, "app", schema(10, "public", table(100, "open", "id", "email"), table(101, "new", "id"))))
	if o := s.object(t, "shop.app.public.open"); o.State != stateDisable || fmt.Sprint(o.Tags, o.Columns[0].Tags, o.Columns[1].Tags) != "[Open Sales] [Open] [PII]" {
		t.Errorf("renamed: %+v", o)
	}
	if o := s.object(t, "shop.app.public.new"); o.State != stateInherit || fmt.Sprint(o.Tags) != "[Open]" {
		t.Errorf("new: %+v", o)
	}
	list := []ObjectSettings{{Name: "shop.app.public.open", Tags: []string{"Open"}}}
	if _, err := s.f.store.Apply(t.Context(), "test", State{ConnectionObjects: &list}, true); err == nil {
		t.Error("the state of before takes off what it had")
	}
}

// TestWhatWasInTheWayMayBeTriedAgain: such an answer is told from a failure of the service.
func TestWhatWasInTheWayMayBeTriedAgain(t *testing.T) {
	s := &Server{log: startLog(t)}
	w := httptest.NewRecorder()
	s.fail(w, httptest.NewRequest("PUT", "/v1/policies/x", nil), &pgconn.PgError{Code: "40P01"})
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"code":"busy"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if err := busy(pgx.ErrNoRows); err != pgx.ErrNoRows {
		t.Error(err)
	}
}
