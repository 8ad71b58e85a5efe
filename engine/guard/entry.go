package guard

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// entry is one entry of the list. Exactly one of any, network and name says
// what it stands for.
type entry struct {
	any      bool
	network  netip.Prefix
	name     string // lower case; with a leading dot: that domain's names
	from, to uint16 // ports
}

func (e entry) matches(host string, a netip.Addr, port uint16) bool {
	if port < e.from || port > e.to {
		return false
	}
	switch {
	case e.any:
		return true
	case e.network.IsValid():
		return e.network.Contains(a)
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if strings.HasPrefix(e.name, ".") {
		return strings.HasSuffix(host, e.name)
	}
	return host == e.name
}

// within tells whether the entry names nothing outside of a network, as one
// must that lets reserved addresses in.
func (e entry) within(p netip.Prefix) bool {
	return e.network.IsValid() && e.network.Bits() >= p.Bits() && p.Contains(e.network.Addr())
}

func parseEntry(text string) (entry, error) {
	what, ports := split(text)
	e := entry{from: 0, to: 65535}
	if ports != "" {
		var err error
		if e.from, e.to, err = parsePorts(ports); err != nil {
			return entry{}, err
		}
	}
	if what == "*" {
		e.any = true
		return e, nil
	}
	if network, ok := parseNetwork(what); ok {
		e.network = network
		return e, nil
	}
	e.name = strings.TrimSuffix(strings.ToLower(strings.TrimPrefix(what, "*")), ".")
	if !validName(strings.TrimPrefix(e.name, "."), what) {
		return entry{}, errors.New("it is neither a network nor an address, a host name, *.domain or *")
	}
	return e, nil
}

// split parts an entry from its ports. An address of version 6 with ports
// stands in brackets.
func split(text string) (what, ports string) {
	if inner, rest, ok := strings.Cut(strings.TrimPrefix(text, "["), "]"); ok && strings.HasPrefix(text, "[") {
		if rest == "" {
			return inner, ""
		}
		if ports, ok := strings.CutPrefix(rest, ":"); ok && ports != "" {
			return inner, ports
		}
		return text, ""
	}
	if strings.Count(text, ":") == 1 {
		what, ports, _ = strings.Cut(text, ":")
		if ports != "" {
			return what, ports
		}
	}
	return text, ""
}

func parsePorts(text string) (from, to uint16, err error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	lo, errLo := strconv.ParseUint(first, 10, 16)
	hi, errHi := strconv.ParseUint(last, 10, 16)
	if errLo != nil || errHi != nil || lo == 0 || hi < lo {
		return 0, 0, errors.New("its ports are not a number or range from 1 to 65535")
	}
	return uint16(lo), uint16(hi), nil
}

func parseNetwork(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, false
	}
	return p.Masked(), true
}

// validName takes what DNS and hosts files have, and no pattern but a leading "*.".
func validName(name, given string) bool {
	if name == "" || strings.HasPrefix(given, "*") && !strings.HasPrefix(given, "*.") {
		return false
	}
	letter := false
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return false
			}
			letter = letter || c >= 'a' && c <= 'z'
		}
	}
	return letter // 10.0.0 is no name but a mistake
}
