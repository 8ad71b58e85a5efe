package attack

import (
	"fmt"
	"strings"
)

// person is a row of the remote table staff. What a governed person of sales
// may know of it: rows of dept sales; id, dept and note as they are, name
// hashed, salary as the constant 100, ssn as NULL, phone as *** and its
// last two digits, born as the year.
type person struct {
	id                      int
	name, dept, salary, ssn string
	phone, born, note       string
}

// Both states look the same to that person.
var states = [2][]person{
	{
		{1, "Ann", "sales", "1200", "111-22-3333", "+49 30 5551234", "1980-05-06", "north"},
		{2, "Ben", "sales", "2300", "222-33-4444", "+49 30 5559934", "1991-11-30", "south"},
		{3, "Cid", "sales", "3100", "333-44-5555", "+49 30 5550056", "1975-02-03", "42"},
		{4, "Dora", "hr", "4100", "444-55-6666", "+49 30 5557890", "1988-08-08", "hidden note of Dora"},
		{5, "Emil", "board", "9900", "555-66-7777", "+49 30 5553456", "1960-01-31", "17"},
	},
	{
		{1, "Ann", "sales", "3333", "999-99-9999", "+1 202 7770034", "1980-12-24", "north"},
		{2, "Ben", "sales", "0", "not a number", "+1 202 7771134", "1991-01-01", "south"},
		{3, "Cid", "sales", "1200", "111-22-3333", "+1 202 7772256", "1975-10-17", "42"},
		{6, "Fritz", "board", "0", "666-77-8888", "+1 202 7773390", "1960-01-30", "( not [ a regex"},
		{7, "Gina", "hr", "-5", "777-88-9999", "+1 202 7774490", "2001-02-03", `hidden 'note' of \ Gina!`},
		{8, "Hugo", "board", "99999999", "888-99-0000", "+1 202 7775590", "1999-09-09", "x!"},
		{9, "Ina", "law", "2300", "000-11-2222", "+1 202 7776690", "1988-08-09", "0"},
		// A source that compares text more widely than PostgreSQL takes these for sales.
		{10, "Joan", "SALES", "2300", "111-00-1111", "+1 202 7777790", "1988-08-09", "north "},
		{11, "Karl", "sales ", "2300", "222-00-2222", "+1 202 7778890", "1988-08-09", "042"},
		{12, "Lea", "sáles", "2300", "333-00-3333", "+1 202 7779990", "1988-08-09", "nörth"},
	},
}

// view is what the governed person gets from SELECT id, dept, salary, ssn, phone, born, note.
const view = `1|sales|100|NULL|***34|1980-01-01|north
2|sales|100|NULL|***34|1991-01-01|south
3|sales|100|NULL|***56|1975-01-01|42`

// secrets are words that a governed person must never read, whatever they do.
func secrets() []string {
	words := []string{"remote-s3cr3t"}
	for _, state := range states {
		for _, p := range state {
			words = append(words, p.ssn, p.phone)
			if p.dept != "sales" {
				words = append(words, p.name+"|", "of "+p.name)
			}
		}
	}
	// A guess that the person types may come back in their own text.
	typed := map[string]bool{"111-22-3333": true, "222-33-4444": true, "999-99-9999": true, "+49 30 5551234": true, "+49 30 5559934": true}
	kept := words[:0]
	for _, w := range words {
		if !typed[w] {
			kept = append(kept, w)
		}
	}
	return kept
}

const remoteColumns = "id, name, dept, salary, ssn, phone, born, note"

// fill empties the remote table and fills it with a state; quoting fits all three databases.
func fill(table string, state []person, backslashes bool) string {
	quote := func(s string) string {
		s = strings.ReplaceAll(s, "'", "''")
		if backslashes {
			s = strings.ReplaceAll(s, `\`, `\\`)
		}
		return "'" + s + "'"
	}
	rows := make([]string, len(state))
	for i, p := range state {
		rows[i] = fmt.Sprintf("(%d, %s, %s, %s, %s, %s, %s, %s)", p.id, quote(p.name), quote(p.dept), p.salary,
			quote(p.ssn), quote(p.phone), quote(p.born), quote(p.note))
	}
	return fmt.Sprintf("DELETE FROM %s; INSERT INTO %s (%s) VALUES %s;", table, table, remoteColumns, strings.Join(rows, ", "))
}
