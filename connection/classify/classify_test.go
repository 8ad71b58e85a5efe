package classify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"portcullis.dev/portcullis/connection"
)

func TestStatedTags(t *testing.T) {
	for _, c := range []struct {
		comment string
		labels  []string
		want    string
	}{
		{"tags: PII.Email, Sales", nil, "PII.Email Sales"},
		{"How we write to them.\n  Tags:PII.Email \nmore", nil, "PII.Email"},
		{"Write [tags: Größe, A.B C] here [tag: X]", nil, "A.B C Größe X"},
		{"the tags: are not at the beginning", nil, ""},
		{"tags: , .x, a..b, x;y, 'q', " + strings.Repeat("z", 300), nil, ""},
		{"", []string{"portcullis=PII.Email,Sales"}, "PII.Email Sales"},
		{"", []string{"portcullis=tags: PII.Email"}, "PII.Email"},
		{"", []string{"other=PII.Email"}, ""},
		{"", []string{"other=tags: Legal"}, "Legal"},
		{"", []string{"anon=MASKED WITH FUNCTION anon.fake_city()"}, "PII"},
		{"tags: Same", []string{"portcullis=Same"}, "Same"},
		{"", []string{"portcullis"}, ""},
	} {
		o := connection.Object{Name: "t", Columns: []connection.Column{{Name: "c", Comment: c.comment, Labels: c.labels}}}
		var got []string
		for _, p := range Stated(o) {
			if p.Column != "c" || p.Confidence <= 0 || p.Reason == "" {
				t.Errorf("%+v", p)
			}
			got = append(got, p.Tag)
		}
		slices.Sort(got)
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%q, %q: got %q, want %q", c.comment, c.labels, text, c.want)
		}
		o = connection.Object{Name: "t", Comment: c.comment, Labels: c.labels}
		if p := Stated(o); len(p) != len(got) || len(p) > 0 && p[0].Column != "" {
			t.Errorf("of the table: %+v", p)
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ table, column, typeName, want string }{
		{"t", "email", "text", TagEmail},
		{"t", "E_MAIL", "character varying(80)", TagEmail},
		{"t", "workEmail2", "text", TagEmail},
		{"t", "email", "public.citext", TagEmail},
		{"t", "emails", "text", ""},
		{"t", "email_sent", "boolean", ""},
		{"t", "email_count", "integer", ""},
		{"t", "mail", "text", TagEmail},
		{"t", "mail_server", "text", ""},
		{"t", "telefonNummer", "text", TagPhone},
		{"t", "mobile", "bigint", TagPhone},
		{"t", "hotel", "text", ""},
		{"t", "first_name", "text", TagName},
		{"t", "prénom", "text", TagName},
		{"t", "NachName", "text", TagName},
		{"t", "file_name", "text", ""},
		{"products", "name", "text", ""},
		{"customer", "name", "text", TagName},
		{"Kunden2024", "name", "text", TagName},
		{"customer", "product_name", "text", ""},
		{"t", "geburtsdatum", "date", TagBirth},
		{"t", "dob", "text", TagBirth},
		{"t", "born_at", "timestamp with time zone", TagBirth},
		{"t", "date_de_naissance", "date", TagBirth},
		{"t", "born", "boolean", ""},
		{"t", "ssn", "character(11)", TagNationalID},
		{"t", "codiceFiscale", "text", TagNationalID},
		{"t", "iban", "text", TagIBAN},
		{"t", "credit_card_no", "numeric(19,0)", TagCard},
		{"t", "client_ip", "text", TagIP},
		{"t", "peer", "inet", TagIP},
		{"t", "shipment", "text", ""},
		{"t", "Straße", "text", TagAddress},
		{"employees", "address", "text", TagAddress},
		{"t", "address", "text", ""},
		{"t", "password_hash", "text", TagSecret},
		{"t", "password", "text[]", TagSecret},
		{"t", "", "text", ""},
	} {
		got := ""
		for _, p := range ByName(connection.Object{Name: c.table, Columns: []connection.Column{{Name: c.column, Type: c.typeName}}}) {
			got += p.Tag
		}
		if got != c.want {
			t.Errorf("%s.%s %s: got %q, want %q", c.table, c.column, c.typeName, got, c.want)
		}
	}
}

func TestCheckDigits(t *testing.T) {
	for name, c := range map[string]struct {
		is   func(string) bool
		good []string
		bad  []string
	}{
		"card": {isCard, []string{"4111 1111 1111 1111", "5555555555554444", "378282246310005", "6011111111111117", "30569309025904", "3530111333300000"},
			[]string{"4111111111111112", "1234567890123452", "411111111111111", "4111x1111111111", ""}},
		"IBAN": {isIBAN, []string{"DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "fr1420041010050500013m02606", "NL91ABNA0417164300"},
			[]string{"DE89370400440532013001", "DE8937040044053201300", "XX89370400440532013000", "DE", "DE8937040044053201300é"}},
		"SSN":            {isSSN, []string{"123-45-6789"}, []string{"000-45-6789", "666-12-3456", "912-34-5678", "123-00-6789", "123-45-0000", "123456789"}},
		"German tax id":  {isGermanTaxID, []string{"86095742719", "47036892816", "65929970489", "86 095 742 719"}, []string{"86095742718", "06095742719", "11111111111", "12345678901"}},
		"French NIR":     {isFrenchNIR, []string{"255081416802538", "2 55 08 14 168 025 38"}, []string{"255081416802539", "555081416802538", "25508141680253"}},
		"Spanish id":     {isSpanishID, []string{"12345678Z", "X1234567L", "12345678-z"}, []string{"12345678A", "X1234567A", "W1234567L", "1234567Z"}},
		"codice fiscale": {isCodiceFiscale, []string{"RSSMRA85T10A562S", "rssmra85t10a562s"}, []string{"RSSMRA85T10A562T", "RSSMRA85T10A56", "1SSMRA85T10A562S"}},
		"BSN":            {isDutchBSN, []string{"111222333", "123456782"}, []string{"111222334", "000000000", "12345678"}},
		"PESEL":          {isPESEL, []string{"44051401359"}, []string{"44051401358", "44131401359", "4405140135"}},
		"CPF":            {isCPF, []string{"529.982.247-25", "11144477735"}, []string{"529.982.247-26", "529.982.247-35", "11111111111"}},
		"AHV":            {isAHV, []string{"756.9217.0769.85", "7569217076985"}, []string{"756.9217.0769.86", "757.9217.0769.85"}},
		"e-mail":         {isEmail, []string{"a.b+c@example.co.uk", "ü@exämple.de"}, []string{"a@b", "a b@c.de", "@c.de", "a@c..de", "a@c.de."}},
		"IP":             {isIP, []string{"10.1.2.3", "2001:db8::1", "10.0.0.0/8"}, []string{"10.1.2", "256.1.1.1", "1.2.3.4.5", "12:30"}},
		"+phone":         {isInternationalPhone, []string{"+49 (30) 123-4567", "0041443334455"}, []string{"+49", "030 1234567", "+0301234567", "+4930x1234567"}},
		"phone":          {isNationalPhone, []string{"(030) 123 4567", "555-123-4567"}, []string{"5551234567", "2024-01-02", "1.2.2024", "12-13"}},
	} {
		for _, s := range c.good {
			if !c.is(s) {
				t.Errorf("%s: %q is one", name, s)
			}
		}
		for _, s := range c.bad {
			if c.is(s) {
				t.Errorf("%s: %q is none", name, s)
			}
		}
	}
}

func TestValues(t *testing.T) {
	column := func(typeName string) connection.Column { return connection.Column{Name: "c", Type: typeName} }
	emails := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("somebody%d@example.org", i))
		}
		return out
	}
	// What carries no check digit by chance: 1 of 10 is a card by Luhn.
	numbers := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprint(4111111111110000+i*7))
		}
		return out
	}
	births := func(n, spread int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("%d-0%d-1%d", 1940+i*spread%60, 1+i%9, i%10))
		}
		return out
	}
	for name, c := range map[string]struct {
		column connection.Column
		values []string
		want   string
	}{
		"e-mail":                {column("text"), emails(20), TagEmail},
		"some are not":          {column("text"), append(emails(20), "none", "", "n/a"), TagEmail},
		"most are not":          {column("text"), append(emails(4), "a", "b", "c", "d"), ""},
		"too few":               {column("text"), emails(4), ""},
		"always the same":       {column("text"), slices.Repeat(emails(1), 100), ""},
		"numbers":               {column("bigint"), numbers(100), ""},
		"cards":                 {column("bigint"), slices.DeleteFunc(numbers(300), func(s string) bool { return !isCard(s) }), TagCard},
		"type that cannot":      {column("jsonb"), emails(20), ""},
		"births":                {column("date"), births(60, 1), TagBirth},
		"one year":              {column("date"), births(60, 0), ""},
		"days of this year":     {column("date"), slices.Repeat([]string{"2026-01-01"}, 50), ""},
		"versions are not":      {column("text"), []string{"1.2.3", "1.2.4", "1.2.5", "1.2.6", "1.2.7", "2.0.0"}, ""},
		"addresses of machines": {column("inet"), []string{"10.0.0.1/32", "10.0.0.2", "10.0.0.3", "10.0.0.4", "::1"}, TagIP},
	} {
		p := byValues(c.column, c.values)
		if got := (p != nil); got != (c.want != "") || got && p.Tag != c.want {
			t.Errorf("%s: %+v", name, p)
		}
		if p != nil {
			for _, v := range c.values {
				if v != "" && strings.Contains(p.Reason, v) {
					t.Errorf("%s: the reason holds a value: %s", name, p.Reason)
				}
			}
		}
	}
}

func TestReasonsAddUp(t *testing.T) {
	o := connection.Object{Name: "customer", Comment: "tags: Sales", Columns: []connection.Column{
		{Name: "mail", Type: "text"}, {Name: "note", Type: "text", Comment: "[tags: PII.Email]"}}}
	sampled := []Proposal{{Column: "mail", Tag: TagEmail, Confidence: 0.9, Basis: []Basis{Values}, Reason: "9 of 10 are"}}
	got := Propose(o, sampled)
	if len(got) != 3 || got[2].Column != "mail" || got[2].Confidence < 0.95 || got[2].Confidence >= 1 || len(got[2].Basis) != 2 ||
		!strings.Contains(got[2].Reason, "called so") || !strings.Contains(got[2].Reason, "9 of 10") {
		t.Errorf("%+v", got)
	}
	if got[0].Confidence != 1 || got[1].Confidence != 1 {
		t.Errorf("what is stated comes first: %+v", got)
	}
}
