package run

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"portcullis.dev/portcullis/fdw"
)

// named is a source whose host is a name that only the test's resolver knows.
func named(s *Source) *Source {
	s.Server["host"] = "source.example.test"
	return s
}

func resolveTo(e *Engine, addresses ...string) {
	e.reach.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		var found []netip.Addr
		for _, a := range addresses {
			found = append(found, netip.MustParseAddr(a))
		}
		return found, nil
	}
}

// The driver could not look the name up itself: that it connects shows that it
// was told the address that was checked.
func TestDriversConnectToTheAddressThatWasChecked(t *testing.T) {
	for _, s := range []*Source{named(postgresSource(t)), named(mariadbSource(t))} {
		t.Run(s.ServerName, func(t *testing.T) {
			e := newTestEngine(t, nil)
			resolveTo(e, "127.0.0.1")
			id := begin(t, e, wholeTable(s, 1))
			if rows, err := readAll(t, e, id); err != nil || len(rows) != 5000 {
				t.Errorf("%d rows, %v", len(rows), err)
			}
			e.ScanEnd(id)
		})
	}
}

// The first address refuses, the second answers.
func TestFurtherAddressesAreTried(t *testing.T) {
	for _, s := range []*Source{named(postgresSource(t)), named(mariadbSource(t))} {
		e := newTestEngine(t, nil)
		resolveTo(e, "127.0.0.9", "127.0.0.1")
		id := begin(t, e, wholeTable(s, 1))
		if rows, err := readAll(t, e, id); err != nil || len(rows) != 5000 {
			t.Errorf("%s: %d rows, %v", s.ServerName, len(rows), err)
		}
		e.ScanEnd(id)
	}
}

func TestHostsThatAreNotAllowedAreNotConnectedTo(t *testing.T) {
	for _, test := range []struct {
		name, allowed, state, part string
		addresses                  []string
	}{
		{"metadata", "*", stateDenied, "169.254.169.254:", []string{"169.254.169.254"}},
		{"another network", "10.0.0.0/8", stateDenied, "127.0.0.1:", []string{"127.0.0.1"}},
		{"refused", "*, !127.0.0.0/8", stateDenied, "127.0.0.1:", []string{"127.0.0.1"}},
		{"no list", "", stateDenied, "127.0.0.1:", []string{"127.0.0.1"}},
		{"a list that is wrong", "10.0.0", "F0000", "10.0.0", []string{"127.0.0.1"}},
		{"no address", "*", stateConnect, "no address", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, s := range []*Source{named(postgresSource(t)), named(mariadbSource(t))} {
				e := newTestEngine(t, func(c *Config) { c.AllowedHosts = test.allowed })
				if e.reach != nil {
					resolveTo(e, test.addresses...)
				}
				id := begin(t, e, wholeTable(s, 1))
				_, _, err := next(t, e, id)
				if err == nil || AsError(err).State != test.state || AsError(err).Hint == "" || !strings.Contains(AsError(err).Detail, test.part) {
					t.Errorf("%s: %+v", s.ServerName, err)
				}
				e.ScanEnd(id)
			}
		})
	}
}

// Where a certificate is checked the driver needs the name, so no address of it may be refused.
func TestNamesLeftToTheDriverNeedAllTheirAddressesAllowed(t *testing.T) {
	s := named(mariadbSource(t))
	s.Server["sslmode"] = "verify-full"
	d, err := dialectOf(s)
	if err != nil {
		t.Fatal(err)
	}
	how, err := d.Connection(s.Server, s.Mapping, fdw.Env{})
	if err != nil || how.HoldTo != nil {
		t.Fatalf("%+v, %v", how, err)
	}
	e := newTestEngine(t, nil)
	resolveTo(e, "127.0.0.1", "169.254.169.254")
	id := begin(t, e, wholeTable(s, 1))
	if _, _, err := next(t, e, id); err == nil || AsError(err).State != stateDenied {
		t.Errorf("%v", err)
	}
	e.ScanEnd(id)
}
