package run

// sourceHashes are those under which the syscache tells of changes of a
// source's server and user mapping; several objects may share one.
type sourceHashes struct{ server, mapping uint32 }

func (s *Source) hashes() sourceHashes { return sourceHashes{s.ServerHash, s.MappingHash} }

func (h sourceHashes) meant(object byte, hash uint32) bool {
	switch {
	case hash == 0:
		return true
	case object == 's':
		return h.server == hash
	}
	return h.mapping == hash
}

// SourceChanged retires the connections of servers ('s') or user mappings
// ('m') that were changed or dropped; hash 0: any may have been. It only marks
// them, since it is called in the middle of whatever PostgreSQL does.
func (e *Engine) SourceChanged(object byte, hash uint32) {
	p := e.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range p.remotes {
		r.retired = r.retired || r.hashes.meant(object, hash)
	}
	for a := range p.attempts {
		a.retired = a.retired || a.hashes.meant(object, hash)
	}
}

// outdated tells whether a connection may serve nothing new: it is retired, and neither
// what this transaction reads by nor just made for who waits for it. The caller holds mu.
func (p *pool) outdated(r *remote) bool {
	return r.retired && r.statements > 0 && !(r.inTx && r.tx == p.tx)
}

// closeRetired closes retired connections that no transaction needs.
func (p *pool) closeRetired() {
	p.closeWhere(func(r *remote) bool { return r.retired })
}
