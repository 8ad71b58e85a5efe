// Package guard says which hosts a node may connect to. Whoever may define a
// source must not reach what only the node can: the metadata service of a
// cloud, or other services of the node's network.
package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Guard is a list of entries; see Parse. It is safe for concurrent use.
type Guard struct {
	allow, refuse []entry

	// Lookup finds the addresses of a name.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
}

// reserved addresses are nobody's database: what "any address" leaves out.
var reserved = prefixes(
	"169.254.0.0/16", "fe80::/10", // link-local, where clouds keep metadata and credentials
	"fd00:ec2::/32", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", // the same of AWS, Alibaba, Azure, Oracle
	"0.0.0.0/8", "::/128", // this host, under another name
	"224.0.0.0/4", "240.0.0.0/4", "ff00::/8", // multicast, broadcast
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}

// mostAddresses of one name are tried.
const mostAddresses = 8

// Parse reads a list as portcullis.allowed_hosts has it: entries between
// commas, each a network, an address, a host name, *.domain or *, optionally
// with :port or :from-to, refused instead of allowed behind an exclamation mark.
func Parse(list string) (*Guard, error) {
	g := &Guard{Lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	}}
	for _, text := range strings.Split(list, ",") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		refuses := strings.HasPrefix(text, "!")
		e, err := parseEntry(strings.TrimSpace(strings.TrimPrefix(text, "!")))
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", text, err)
		}
		if refuses {
			g.refuse = append(g.refuse, e)
		} else {
			g.allow = append(g.allow, e)
		}
	}
	return g, nil
}

// A Refusal says which address of a host no entry allows.
type Refusal struct {
	Host    string
	Address netip.Addr
	Port    uint16
}

func (r *Refusal) Error() string {
	at := netip.AddrPortFrom(r.Address, r.Port).String()
	if r.Host == r.Address.String() {
		return at + " is not allowed on this node"
	}
	return fmt.Sprintf("%s, which host \"%s\" stands for, is not allowed on this node", at, r.Host)
}

// Admit returns the addresses of a host that may be connected to, in the
// order to try them; a Refusal if there is none. With all set none may be
// refused: the driver will look the name up again and take any of them.
func (g *Guard) Admit(ctx context.Context, host string, port uint16, all bool) ([]netip.Addr, error) {
	found, err := g.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	var admitted []netip.Addr
	var refused *Refusal
	for _, a := range found {
		if g.allows(host, a, port) {
			admitted = append(admitted, a)
		} else if refused == nil {
			refused = &Refusal{Host: host, Address: a, Port: port}
		}
	}
	if refused != nil && (all || len(admitted) == 0) {
		return nil, refused
	}
	return admitted[:min(len(admitted), mostAddresses)], nil
}

func (g *Guard) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{plain(a)}, nil
	}
	found, err := g.Lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New("it has no address")
	}
	for i := range found {
		found[i] = plain(found[i])
	}
	return found, nil
}

// plain writes an address in the one way in which entries are compared.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// nat64 is the prefix under which gateways reach IPv4 addresses.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func (g *Guard) allows(host string, a netip.Addr, port uint16) bool {
	if nat64.Contains(a) {
		bytes := a.As16()
		if !g.allows(host, netip.AddrFrom4([4]byte(bytes[12:])), port) {
			return false
		}
	}
	for _, e := range g.refuse {
		if e.matches(host, a, port) {
			return false
		}
	}
	special := reservedFor(a)
	for _, e := range g.allow {
		if e.matches(host, a, port) && (!special.IsValid() || e.within(special)) {
			return true
		}
	}
	return false
}

// reservedFor is the reserved network that an address belongs to, if any.
func reservedFor(a netip.Addr) netip.Prefix {
	for _, p := range reserved {
		if p.Contains(a) {
			return p
		}
	}
	return netip.Prefix{}
}
