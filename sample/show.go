package sample

// People are the sample people of state.yaml, and what to expect of each.
var People = []struct {
	Role, Sees string
	Refused    bool
}{
	{"ana", "safety: sees everything", false},
	{"ben", "operations: true values, but only the rows of his own regions", false},
	{"chloe", "research: every row, but masked values", false},
	{"dan", "not subscribed", true},
}

// Questions are the queries that `make run` lets each of them type.
var Questions = []struct{ Source, SQL string }{
	{"PostgreSQL", `SELECT id, flight_date, origin_state, left(operator, 18) AS operator, cost_total
  FROM birdstrikes WHERE cost_total > 400000 ORDER BY id LIMIT 4`},
	{"MariaDB", `SELECT id, name, country, district, latitude, longitude
  FROM cities WHERE name = 'Paris' ORDER BY id LIMIT 4`},
	{"SQLite", `SELECT zip_code, city, county, state
  FROM zipcodes WHERE city = 'Pasadena' ORDER BY zip_code LIMIT 4`},
}

// Direct are queries that each of them types at the PostgreSQL source itself,
// with who may.
var Direct = []struct {
	SQL     string
	Readers []string
}{
	{`SELECT count(*) FROM aviation.flights`, []string{"ana", "ben", "chloe"}},
	{`SELECT count(*) FROM aviation.birdstrikes`, []string{"ana"}},
	{`SELECT id, left(operator, 18), cost_total FROM policy_aviation.birdstrikes WHERE cost_total > 400000 ORDER BY id LIMIT 1`, []string{"ben", "chloe"}},
}
