package grants

import "slices"

// What writes a relation by way of a view of it sets off its rules and triggers as
// well; by way of what it is a part of, its triggers.

// act notes that writing a relation acts on another with somebody's rights, and
// so does writing what is above it.
func (p *relationPaths) act(relation, other, acting uint32, need bits, by setOff) {
	for top, how := range p.above(relation, need, by) {
		p.reach(top, other, acting, byRule, how, anything, map[uint32]bool{top: true, relation: true})
	}
}

// setOff says what acts: PostgreSQL rewrites by the rules of the named relation alone.
type setOff int

const (
	byTrigger setOff = iota
	byItsRule
)

// above are the relations that lead to one when they are written, itself among
// them, with the privileges that do.
func (p *relationPaths) above(relation uint32, need bits, by setOff) map[uint32]bits {
	if p.under == nil { // made at the first rule or trigger
		p.under = map[uint32][]uint32{}
		for oid, v := range p.views {
			if v.writes != 0 && !v.asInvoker {
				p.under[v.bases[0]] = append(p.under[v.bases[0]], oid)
			}
		}
		for oid, children := range p.parents {
			for _, ch := range children {
				p.under[ch.child] = append(p.under[ch.child], oid)
			}
		}
	}
	out := map[uint32]bits{relation: need}
	for queue := []uint32{relation}; len(queue) > 0; queue = queue[1:] {
		for _, top := range p.under[queue[0]] {
			if by == byItsRule && p.views[top] == nil {
				continue
			}
			how := out[queue[0]] & p.passes(top, queue[0])
			if p.routes(top, queue[0]) && out[queue[0]]&(canInsert|canDelete) != 0 {
				how |= canUpdate // it moves rows from partition to partition
			}
			if how&^out[top] != 0 {
				out[top] |= how
				queue = append(queue, top)
			}
		}
	}
	return out
}

// passes are the privileges on a relation by which what is below it is written.
func (p *relationPaths) passes(top, below uint32) (out bits) {
	if v := p.views[top]; v != nil {
		for _, t := range throughs {
			if v.writes&t[1] != 0 {
				out |= t[0]
			}
		}
		return out
	}
	out = canUpdate | canDelete | canTruncate
	if p.routes(top, below) {
		out |= canInsert
	}
	return out
}

// routes reports whether rows of a relation are those of a partition of it.
func (p *relationPaths) routes(top, below uint32) bool {
	return slices.ContainsFunc(p.parents[top], func(ch childPath) bool { return ch.child == below && ch.routes })
}
