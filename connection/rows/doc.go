// Package rows shows people who may see some rows of a table these rows, under
// the table's own name: by row-level security. It is for plain tables on which no
// mask is for anybody; package views is for the others.
//
// A table has two policies of ours. One lets everybody pass, so that accounts of
// nobody's go on as before. The other is restrictive, so that no further policy widens
// it: it finds the form and the values of who logged in (session_user) by functions of
// the tables' owner and requires what the form says. What is in them follows
// from the evaluator's decisions, taken apart by package filter.
//
// Policies run with the rights of who reads, so the account must not write
// them: it gives the owner's functions a filter as a tree of few words, and they write the SQL.
package rows
