package grants

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"
	"strings"

	"portcullis.dev/portcullis/connection"
)

// A narrowed round looks at some sets only: at their roles, who is a member of
// them, all tables that they should hold or hold, and the ways to those. It
// plans and applies by the same code as a complete one, which remains the truth:
// nothing else is compared, no verdict is given, and no finding is made.

// Known is what a complete round left in force, as digests.
type Known struct {
	rest [sha256.Size]byte // of all but the sets
	sets map[setKey][sha256.Size]byte
}

type setKey struct {
	id     string
	access connection.Access
}

// Know remembers what is wanted.
func Know(want connection.Want) *Known {
	k := &Known{rest: digestOfRest(want), sets: make(map[setKey][sha256.Size]byte, len(want.Sets))}
	for _, s := range want.Sets {
		k.sets[setKey{s.ID, s.Access}] = digestOfSet(s)
	}
	return k
}

// Same reports whether the same is wanted.
func (k *Known) Same(other *Known) bool {
	return k != nil && other != nil && k.rest == other.rest && maps.Equal(k.sets, other.sets)
}

// Difference is what a narrowed round looks at.
type Difference struct {
	want connection.Want // the sets that are new, or wanted otherwise; and the accounts
	gone []connection.AccessSet
}

// Tables is in how many places of sets there are tables to look at.
func (d *Difference) Tables() (n int) {
	for _, s := range d.want.Sets {
		n += len(s.Tables)
	}
	return n
}

// Sets is how many sets there are to look at.
func (d *Difference) Sets() int { return len(d.want.Sets) + len(d.gone) }

// Difference finds the sets of what is wanted now that are not as they were;
// now is what Know makes of want. nil: something else differs, too, for which a
// complete round is needed.
func (k *Known) Difference(want connection.Want, now *Known) *Difference {
	if k == nil || k.rest != now.rest {
		return nil
	}
	d := &Difference{want: connection.Want{Accounts: want.Accounts}}
	for _, s := range want.Sets {
		if before, ok := k.sets[setKey{s.ID, s.Access}]; !ok || before != now.sets[setKey{s.ID, s.Access}] {
			d.want.Sets = append(d.want.Sets, s)
		}
	}
	for key := range k.sets {
		if _, ok := now.sets[key]; !ok {
			d.gone = append(d.gone, connection.AccessSet{ID: key.id, Access: key.access})
		}
	}
	wanted := map[uint32]bool{}
	for _, s := range d.want.Sets {
		for _, t := range s.Tables {
			wanted[t.OID] = true
		}
	}
	for _, t := range want.Unenforceable {
		if wanted[t.OID] {
			d.want.Unenforceable = append(d.want.Unenforceable, t)
		}
	}
	return d
}

// roles are those of the sets.
func (d *Difference) roles(prefix string) map[string]bool {
	out := make(map[string]bool, d.Sets())
	for _, list := range [][]connection.AccessSet{d.want.Sets, d.gone} {
		for _, s := range list {
			out[setRole(prefix, s)] = true
		}
	}
	return out
}

// Narrow brings some sets in line with what is wanted of them, after a complete
// round that left nothing pending. complete is false where a complete round has
// to follow at once: something is pending, or has to be told. The counts and
// findings of the report are none; its sessions that linger are all, also where no
// set is looked at.
func (e *Engine) Narrow(ctx context.Context, d *Difference) (r connection.Report, complete bool, err error) {
	s := &sessions{connect: e.o.Connect}
	defer s.close()
	within := d.roles(e.o.Target.Prefix)
	before, err := e.look(ctx, s, d.want, within)
	if err != nil {
		return r, false, err
	}
	if before.plan.empty() {
		if r.Lingering, err = e.lingering(ctx, s, before, nil); err != nil {
			return r, false, err
		}
		return r, before.allSaid(), e.settle(ctx, before)
	}
	x, err := e.apply(ctx, s, before)
	if err != nil {
		return r, false, err
	}
	r.Applied, r.Drift = x.applied, x.drift
	after, err := e.look(ctx, s, d.want, within)
	if err != nil {
		return r, false, err
	}
	if r.Lingering, err = e.lingering(ctx, s, after, x); err != nil {
		return r, false, err
	}
	return r, after.allSaid() && len(after.plan.changes()) == 0, e.settle(ctx, after)
}

// allSaid reports whether there is nothing that only a complete round tells.
func (v *view) allSaid() bool {
	return len(v.broken)+len(v.plan.refused)+len(v.plan.lacking) == 0
}

// narrow leaves in the ledger what a narrowed round may touch: the roles of its
// sets, people's own, and the ways that the sets are members of or need. Sets
// that are not looked at stay members of these ways.
func (p *planner) narrow(within map[string]bool) {
	ledger := map[string]MadeRole{}
	for name, m := range p.ledger {
		if within[name] || m.Kind == RoleLogin {
			ledger[name] = m
		}
	}
	members := within // of the ways of one kind
	for _, kind := range []RoleKind{RoleSchema, RoleDatabase} {
		ways := p.waysOf(members, kind)
		for name, r := range p.roles {
			if r.kind == kind {
				ways[name] = true
			}
		}
		for name := range ways {
			if m, known := p.ledger[name]; known {
				ledger[name] = m
				p.keepMembers(name, members)
			}
			if r := p.roles[name]; r != nil && kind == RoleSchema {
				p.through(name)
			}
		}
		members = ways
	}
	p.ledger = ledger
}

// through wants a way to a schema to be a member of the way to its database.
func (p *planner) through(way string) {
	database, _, _ := strings.Cut(strings.TrimPrefix(way, p.target.Prefix+"s_"), "_")
	name := p.target.Prefix + "d_" + database
	if p.roles[name] == nil {
		p.roles[name] = &desiredRole{kind: RoleDatabase, of: p.ledger[name].For}
	}
	if r := p.roles[name]; !slices.Contains(r.members, way) {
		r.members = append(r.members, way)
	}
}

// waysOf are the ways of a kind of which some of these roles are members.
func (p *planner) waysOf(members map[string]bool, kind RoleKind) map[string]bool {
	ways := map[string]bool{}
	for member := range members {
		r := p.cat.names[member]
		if r == nil {
			continue
		}
		for _, m := range p.cat.memberOf[r.oid] {
			name := p.cat.name(m.role)
			if made, ok := p.ledger[name]; ok && made.Kind == kind {
				ways[name] = true
			}
		}
	}
	return ways
}

// keepMembers wants those members of a way that are not looked at. A membership
// that nobody can want, as of a set in the way to a database, is not kept: granted
// by others, it would be granted by us, too.
func (p *planner) keepMembers(name string, looked map[string]bool) {
	now := p.cat.names[name]
	if now == nil {
		return
	}
	for _, m := range p.cat.members[now.oid] {
		member := p.cat.name(m.member)
		if !p.ledger[member].leadsBy(p.ledger[name]) || looked[member] {
			continue
		}
		if p.roles[name] == nil {
			p.roles[name] = &desiredRole{kind: p.ledger[name].Kind, of: p.ledger[name].For}
		}
		if r := p.roles[name]; !slices.Contains(r.members, member) {
			r.members = append(r.members, member)
		}
	}
}

func digestOfRest(want connection.Want) (out [sha256.Size]byte) {
	h := newDigest()
	h.number(len(want.Accounts))
	for _, a := range want.Accounts {
		h.text(a.Person)
		h.text(a.Role)
		h.flag(a.Make)
	}
	h.tables(want.Managed)
	h.tables(want.Unenforceable)
	h.number(len(want.Parts))
	for _, p := range want.Parts {
		h.tables(p.Tables)
		h.texts(p.Roles)
		h.texts(p.Policies)
	}
	h.Sum(out[:0])
	return out
}

func digestOfSet(s connection.AccessSet) (out [sha256.Size]byte) {
	h := newDigest()
	h.tables(s.Tables)
	h.texts(s.Members)
	h.Sum(out[:0])
	return out
}

// digest hashes values so that no two lists of them give the same bytes.
type digest struct {
	hash.Hash
	buffer []byte
}

func newDigest() *digest { return &digest{Hash: sha256.New()} }

// A hash takes everything: Write has no error.
func (d *digest) number(n int) {
	d.buffer = binary.AppendUvarint(d.buffer[:0], uint64(n))
	_, _ = d.Write(d.buffer)
}

func (d *digest) text(s string) {
	d.buffer = append(binary.AppendUvarint(d.buffer[:0], uint64(len(s))), s...)
	_, _ = d.Write(d.buffer)
}

func (d *digest) flag(b bool) {
	d.number(map[bool]int{true: 1}[b])
}

func (d *digest) texts(list []string) {
	d.number(len(list))
	for _, s := range list {
		d.text(s)
	}
}

func (d *digest) tables(list []connection.ObjectRef) {
	d.number(len(list))
	for i := range list {
		t := &list[i]
		d.number(int(t.OID))
		d.text(t.Database)
		d.text(t.Schema)
		d.text(t.Name)
	}
}
