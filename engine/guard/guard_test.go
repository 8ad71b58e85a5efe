package guard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
)

func TestWhichHostsAreAllowed(t *testing.T) {
	names := map[string][]string{
		"db.example.com": {"192.0.2.7"}, "both.example.com": {"192.0.2.7", "169.254.169.254"},
		"metadata.example.com": {"169.254.169.254"}, "localhost": {"::1", "127.0.0.1"}, "DB.Example.COM.": {"192.0.2.7"},
		"example.com": {"192.0.2.9"}, "badexample.com": {"192.0.2.9"},
	}
	for _, test := range []struct {
		list, host string
		port       uint16
		want       string // addresses, or "" for a refusal
	}{
		{"*", "192.0.2.7", 5432, "[192.0.2.7]"},
		{"*", "127.0.0.1", 5432, "[127.0.0.1]"},
		{"*", "localhost", 5432, "[::1 127.0.0.1]"},
		{"*", "169.254.169.254", 80, ""},
		{"*", "::ffff:169.254.169.254", 80, ""},
		{"*", "64:ff9b::a9fe:a9fe", 80, ""},
		{"*", "64:ff9b::c000:0207", 80, "[64:ff9b::c000:207]"},
		{"*", "fe80::1%eth0", 80, ""},
		{"*", "fd00:ec2::254", 80, ""},
		{"*", "0.0.0.0", 5432, ""},
		{"*", "::", 5432, ""},
		{"*", "metadata.example.com", 80, ""},
		{"*", "both.example.com", 5432, "[192.0.2.7]"},
		{"0.0.0.0/0, ::/0", "169.254.169.254", 80, ""},
		{"0.0.0.0/0", "192.0.2.7", 80, "[192.0.2.7]"},
		{"metadata.example.com", "metadata.example.com", 80, ""},
		{"169.254.169.254", "metadata.example.com", 80, "[169.254.169.254]"},
		{"169.254.10.0/24", "169.254.10.9", 80, "[169.254.10.9]"},
		{"169.254.10.0/24", "169.254.169.254", 80, ""},
		{"", "192.0.2.7", 5432, ""},
		{"192.0.2.0/24", "192.0.2.7", 5432, "[192.0.2.7]"},
		{"192.0.2.0/24", "192.0.3.7", 5432, ""},
		{"192.0.2.7:5432", "192.0.2.7", 5432, "[192.0.2.7]"},
		{"192.0.2.7:5432", "192.0.2.7", 5433, ""},
		{"192.0.2.0/24:5000-6000", "192.0.2.7", 5999, "[192.0.2.7]"},
		{"192.0.2.0/24:5000-6000", "192.0.2.7", 6001, ""},
		{"[2001:db8::/32]:5432", "2001:db8::1", 5432, "[2001:db8::1]"},
		{"[2001:db8::/32]:5432", "2001:db8::1", 5433, ""},
		{"2001:db8::1", "2001:db8::1", 1, "[2001:db8::1]"},
		{"::ffff:192.0.2.7", "192.0.2.7", 1, "[192.0.2.7]"},
		{"db.example.com", "DB.Example.COM.", 5432, "[192.0.2.7]"},
		{"db.example.com", "192.0.2.7", 5432, ""},
		{"*.example.com", "db.example.com", 5432, "[192.0.2.7]"},
		{"*.example.com", "example.com", 5432, ""},
		{"*.example.com", "badexample.com", 5432, ""},
		{"*, !192.0.2.0/24", "db.example.com", 5432, ""},
		{"*, ! 192.0.2.0/24:1-1000", "db.example.com", 5432, "[192.0.2.7]"},
		{"*, !127.0.0.0/8", "localhost", 5432, "[::1]"},
		{"*, !*.example.com", "db.example.com", 5432, ""},
	} {
		g, err := Parse(test.list)
		if err != nil {
			t.Fatal(err)
		}
		g.Lookup = func(_ context.Context, name string) ([]netip.Addr, error) {
			var found []netip.Addr
			for _, a := range names[name] {
				found = append(found, netip.MustParseAddr(a))
			}
			return found, nil
		}
		got, err := g.Admit(t.Context(), test.host, test.port, false)
		var refusal *Refusal
		switch {
		case test.want == "" && !errors.As(err, &refusal), test.want != "" && (err != nil || fmt.Sprint(got) != test.want):
			t.Errorf("%q, %s port %d: %v %v, want %q", test.list, test.host, test.port, got, err, test.want)
		}
		if _, err := g.Admit(t.Context(), "both.example.com", 5432, true); err == nil {
			t.Errorf("%q: a name of which one address is refused is left to the driver", test.list)
		}
	}
}

func TestListsThatAreWrong(t *testing.T) {
	for _, list := range []string{
		"10.0.0", "10.0.0.0/33", "*.", "*x", "a*b", "host:0", "host:9-1", "host:65536", "host:x", "[::1]5", "[::1]:", "host:", "!", "-a", "a..b",
		"fe80::1%eth0", "::ffff:10.0.0.0/104",
	} {
		if g, err := Parse(list); err == nil {
			t.Errorf("%q was taken: %+v", list, g)
		}
	}
}
