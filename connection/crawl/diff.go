package crawl

import (
	"cmp"
	"slices"

	"portcullis.dev/portcullis/connection"
)

// ChangeKind says what happened to something between two crawls.
type ChangeKind string

const (
	Created ChangeKind = "created"
	Dropped ChangeKind = "dropped"
	Renamed ChangeKind = "renamed" // same OID, another name
	Moved   ChangeKind = "moved"   // same OID, another schema
	Altered ChangeKind = "altered" // owner, kind, comment, labels, or what is said about enforcement
	Columns ChangeKind = "columns" // see Change.Columns
)

// Level is how deep in an instance something lies.
type Level string

const (
	LevelDatabase Level = "database"
	LevelSchema   Level = "schema"
	LevelTable    Level = "table"
)

// Change is one difference. A table that was renamed, moved and altered at once
// has three, in the order of the constants. Schema and Object are as they are
// now, those of something dropped as they were.
type Change struct {
	Kind     ChangeKind
	Level    Level
	Database connection.Database // without its schemas
	Schema   connection.Schema   // without its objects; zero for a database
	Object   connection.Object   // zero for a database or a schema

	WasName   string            // of what was renamed
	WasSchema connection.Schema // of what was moved, without objects
	Columns   []ColumnChange
}

// ColumnChange is a difference in one column, told by its number.
type ColumnChange struct {
	Kind ChangeKind        `json:"kind"` // Created, Dropped, Renamed, Altered
	Now  connection.Column `json:"now"`  // as it was, if dropped
	Was  connection.Column `json:"was"`  // zero, if created
}

// Diff tells what happened between two crawls of one instance: first what was
// dropped, then the rest from the top down. Databases that could not be crawled now count as
// unchanged, and so do schemas whose objects were not read (Objects is nil).
// Something made anew under an old name is dropped and created: the OID counts.
func Diff(was, now []connection.Database) []Change {
	var d differ
	before := byOID(was, func(db connection.Database) uint32 { return db.OID })
	after := byOID(now, func(db connection.Database) uint32 { return db.OID })
	for _, old := range was {
		if _, ok := after[old.OID]; !ok {
			d.dropDatabase(old)
		}
	}
	for _, db := range now {
		old, known := before[db.OID]
		header := headerOf(db)
		switch {
		case !known:
			d.add(Change{Kind: Created, Level: LevelDatabase, Database: header})
		case old.Name != db.Name:
			d.add(Change{Kind: Renamed, Level: LevelDatabase, Database: header, WasName: old.Name})
		}
		if known && old.Owner != db.Owner {
			d.add(Change{Kind: Altered, Level: LevelDatabase, Database: header})
		}
		if db.Err == nil {
			d.schemas(header, old.Schemas, db.Schemas)
		}
	}
	slices.SortStableFunc(d.changes, func(a, b Change) int { return cmp.Compare(turn(a), turn(b)) })
	return d.changes
}

// turn puts what was dropped first, so that its name is free for another.
func turn(c Change) int {
	if c.Kind == Dropped {
		return 0
	}
	return 1
}

type differ struct{ changes []Change }

func (d *differ) add(c Change) { d.changes = append(d.changes, c) }

func (d *differ) dropDatabase(old connection.Database) {
	header := headerOf(old)
	for _, s := range old.Schemas {
		d.dropSchema(header, s)
	}
	d.add(Change{Kind: Dropped, Level: LevelDatabase, Database: header})
}

func (d *differ) dropSchema(db connection.Database, s connection.Schema) {
	for _, o := range s.Objects {
		d.add(Change{Kind: Dropped, Level: LevelTable, Database: db, Schema: bare(s), Object: o})
	}
	d.add(Change{Kind: Dropped, Level: LevelSchema, Database: db, Schema: bare(s)})
}

// place is where an object was.
type place struct {
	schema connection.Schema
	object connection.Object
}

func (d *differ) schemas(db connection.Database, was, now []connection.Schema) {
	before := byOID(was, func(s connection.Schema) uint32 { return s.OID })
	after := byOID(now, func(s connection.Schema) uint32 { return s.OID })
	stays := map[uint32]bool{} // tables that were read now, wherever
	for _, s := range now {
		for _, o := range s.Objects {
			stays[o.OID] = true
		}
	}
	from := map[uint32]place{}
	for _, s := range was {
		next, there := after[s.OID]
		for _, o := range s.Objects {
			from[o.OID] = place{bare(s), o}
			if (!there || next.Objects != nil) && !stays[o.OID] {
				d.add(Change{Kind: Dropped, Level: LevelTable, Database: db, Schema: bare(s), Object: o})
			}
		}
		if !there {
			d.add(Change{Kind: Dropped, Level: LevelSchema, Database: db, Schema: bare(s)})
		}
	}
	for _, s := range now {
		old, known := before[s.OID]
		switch {
		case !known:
			d.add(Change{Kind: Created, Level: LevelSchema, Database: db, Schema: bare(s)})
		case old.Name != s.Name:
			d.add(Change{Kind: Renamed, Level: LevelSchema, Database: db, Schema: bare(s), WasName: old.Name})
		}
		if known && old.Owner != s.Owner {
			d.add(Change{Kind: Altered, Level: LevelSchema, Database: db, Schema: bare(s)})
		}
		for _, o := range s.Objects {
			d.object(Change{Level: LevelTable, Database: db, Schema: bare(s), Object: o}, from)
		}
	}
}

// object compares a table with what it was; c says where it is now.
func (d *differ) object(c Change, from map[uint32]place) {
	was, known := from[c.Object.OID]
	if !known {
		c.Kind = Created
		d.add(c)
		return
	}
	old, now := was.object, c.Object
	if old.Name != now.Name {
		renamed := c
		renamed.Kind, renamed.WasName = Renamed, old.Name
		d.add(renamed)
	}
	if was.schema.OID != c.Schema.OID {
		moved := c
		moved.Kind, moved.WasSchema = Moved, was.schema
		d.add(moved)
	}
	if old.Kind != now.Kind || old.Owner != now.Owner || old.Comment != now.Comment || !slices.Equal(old.Parents, now.Parents) ||
		old.NotEnforceable != now.NotEnforceable || old.Fix != now.Fix || !slices.Equal(old.Labels, now.Labels) {
		altered := c
		altered.Kind = Altered
		d.add(altered)
	}
	if columns := diffColumns(old.Columns, now.Columns); len(columns) > 0 {
		c.Kind, c.Columns = Columns, columns
		d.add(c)
	}
}

// diffColumns merges two lists that are in the order of the numbers. A number
// is never used again in a table.
func diffColumns(was, now []connection.Column) []ColumnChange {
	var out []ColumnChange
	for len(was) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(was) > 0 && was[0].Number < now[0].Number:
			out = append(out, ColumnChange{Kind: Dropped, Now: was[0], Was: was[0]})
			was = was[1:]
		case len(was) == 0 || now[0].Number < was[0].Number:
			out = append(out, ColumnChange{Kind: Created, Now: now[0]})
			now = now[1:]
		default:
			old, c := was[0], now[0]
			if old.Name != c.Name {
				out = append(out, ColumnChange{Kind: Renamed, Now: c, Was: old})
			}
			if old.Type != c.Type || old.Comment != c.Comment || !slices.Equal(old.Labels, c.Labels) {
				out = append(out, ColumnChange{Kind: Altered, Now: c, Was: old})
			}
			was, now = was[1:], now[1:]
		}
	}
	return out
}

func headerOf(db connection.Database) connection.Database {
	db.Schemas = nil
	return db
}

func bare(s connection.Schema) connection.Schema {
	s.Objects = nil
	return s
}

func byOID[T any](list []T, oid func(T) uint32) map[uint32]T {
	out := make(map[uint32]T, len(list))
	for _, t := range list {
		out[oid(t)] = t
	}
	return out
}
