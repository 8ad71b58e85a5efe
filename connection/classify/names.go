package classify

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"portcullis.dev/portcullis/connection"
)

// shape is what kind of values a column's type holds.
type shape int

const (
	other shape = iota
	text
	number
	date
	address // inet and cidr
)

func shapeOf(typeName string) shape {
	base, _, _ := strings.Cut(typeName, "(")
	switch {
	case strings.HasSuffix(typeName, "[]"):
		return shapeOf(strings.TrimSuffix(typeName, "[]"))
	case slices.Contains([]string{"text", "character varying", "character", "name"}, base), base == "citext", strings.HasSuffix(base, ".citext"):
		return text
	case slices.Contains([]string{"bigint", "integer", "numeric"}, base):
		return number
	case base == "date", strings.HasPrefix(base, "timestamp"):
		return date
	case base == "inet", base == "cidr":
		return address
	}
	return other
}

// nameRule says what a column is likely about when its name has these words,
// one after the other, and its type can hold such values.
type nameRule struct {
	tag        string
	shapes     []shape
	confidence float64
	words      []string // alternatives; "a b" are two words in a row
	alone      bool     // the words must be all of the name
	people     bool     // only in a table about people
}

// Words are folded: lower case, without accents, ß as ss. English, German,
// French, Spanish, Italian and Dutch.
var nameRules = []nameRule{
	{tag: TagEmail, shapes: []shape{text}, confidence: 0.85, words: []string{"email", "e mail", "emailaddress", "mailadresse", "courriel", "correo"}},
	{tag: TagEmail, shapes: []shape{text}, confidence: 0.6, words: []string{"mail"}, alone: true},
	{tag: TagPhone, shapes: []shape{text, number}, confidence: 0.8, words: []string{"phone", "telephone", "telefon", "telefono", "telefoon", "tel", "mobile", "mobil", "handy",
		"cell", "cellphone", "phonenumber", "msisdn", "fax", "portable", "movil", "cellulare"}},
	{tag: TagName, shapes: []shape{text}, confidence: 0.85, words: []string{"firstname", "first name", "lastname", "last name", "surname", "fullname", "full name", "givenname",
		"given name", "familyname", "family name", "middlename", "middle name", "maiden name", "vorname", "nachname", "familienname", "geburtsname", "prenom",
		"nom famille", "nom de famille", "apellido", "apellidos", "cognome", "voornaam", "achternaam"}},
	{tag: TagName, shapes: []shape{text}, confidence: 0.6, words: []string{"name", "nombre", "nom", "nome", "naam"}, alone: true, people: true},
	{tag: TagBirth, shapes: []shape{date, text}, confidence: 0.9, words: []string{"birthdate", "birth date", "birthday", "date of birth", "dateofbirth", "dob", "born", "geburtsdatum",
		"geburtstag", "geboren", "date naissance", "date de naissance", "naissance", "fecha nacimiento", "fecha de nacimiento", "nacimiento", "data di nascita",
		"data nascita", "geboortedatum"}},
	{tag: TagNationalID, shapes: []shape{text, number}, confidence: 0.85, words: []string{"ssn", "social security", "socialsecurity", "national id", "nationalid", "national insurance",
		"nino", "tax id", "taxid", "tin", "steuer id", "steuerid", "steuernummer", "sozialversicherungsnummer", "personalausweis", "personnummer", "numero securite sociale",
		"nir", "dni", "nie", "nif", "codice fiscale", "bsn", "burgerservicenummer", "pesel", "cpf", "ahv", "aadhaar", "passport", "passport number", "reisepass", "pasaporte"}},
	{tag: TagIBAN, shapes: []shape{text}, confidence: 0.9, words: []string{"iban"}},
	{tag: TagIBAN, shapes: []shape{text, number}, confidence: 0.5, words: []string{"account number", "bank account", "kontonummer", "numero cuenta"}},
	{tag: TagCard, shapes: []shape{text, number}, confidence: 0.85, words: []string{"credit card", "creditcard", "card number", "cardnumber", "card no", "cc number", "ccnumber",
		"kreditkarte", "kreditkartennummer", "carte bancaire", "tarjeta"}},
	{tag: TagIP, shapes: []shape{text, address}, confidence: 0.85, words: []string{"ip", "ip address", "ipaddress", "ip addr", "ipv4", "ipv6", "client ip", "remote addr"}},
	{tag: TagAddress, shapes: []shape{text}, confidence: 0.75, words: []string{"street", "address line", "street address", "postal address", "home address", "zip", "zip code", "zipcode",
		"postcode", "postal code", "strasse", "hausnummer", "plz", "postleitzahl", "rue", "code postal", "calle", "direccion", "indirizzo", "straat"}},
	{tag: TagAddress, shapes: []shape{text}, confidence: 0.6, words: []string{"address", "adresse", "adres"}, alone: true, people: true},
	{tag: TagSecret, shapes: []shape{text}, confidence: 0.8, words: []string{"password", "passwd", "pwd", "passwort", "kennwort", "secret", "api key", "apikey", "access token",
		"private key", "mot de passe", "contrasena", "wachtwoord"}},
}

// People are who a table is about, if a word of its name is one of these.
var people = []string{"customer", "customers", "client", "clients", "person", "persons", "people", "user", "users", "employee", "employees", "patient", "patients", "member",
	"members", "contact", "contacts", "student", "students", "guest", "guests", "passenger", "passengers", "staff", "kunde", "kunden", "personen", "mitarbeiter", "patienten",
	"benutzer", "personne", "personnes", "utilisateur", "utilisateurs", "cliente", "clientes", "persona", "personas", "empleado", "empleados"}

// ByName proposes tags from the names and types of columns.
func ByName(o connection.Object) []Proposal {
	about := slices.ContainsFunc(wordsOf(o.Name), func(w string) bool { return slices.Contains(people, w) })
	var out []Proposal
	for _, c := range o.Columns {
		words, kind := wordsOf(c.Name), shapeOf(c.Type)
		for _, r := range nameRules {
			if r.people && !about || !slices.Contains(r.shapes, kind) {
				continue
			}
			if found := r.match(words); found != "" {
				reason := fmt.Sprintf("a column of type %s is called so", c.Type)
				if r.people {
					reason += ", in a table about people"
				}
				out = append(out, Proposal{Column: c.Name, Tag: r.tag, Confidence: r.confidence, Basis: []Basis{Name}, Reason: reason})
				break
			}
		}
		// The type says all.
		if kind == address && !slices.ContainsFunc(out, func(p Proposal) bool { return p.Column == c.Name }) {
			out = append(out, Proposal{Column: c.Name, Tag: TagIP, Confidence: 0.7, Basis: []Basis{Name}, Reason: "a column of type " + c.Type + " holds network addresses"})
		}
	}
	return out
}

// match returns the alternative that occurs in words, "" if none does. One word
// may be written as two: NachName.
func (r nameRule) match(words []string) string {
	for _, alternative := range r.words {
		want := strings.Fields(alternative)
		for i := range words {
			if i+len(want) <= len(words) && slices.Equal(words[i:i+len(want)], want) && (!r.alone || len(want) == len(words)) {
				return alternative
			}
			if i+2 <= len(words) && words[i]+words[i+1] == alternative && (!r.alone || len(words) == 2) {
				return alternative
			}
		}
	}
	return ""
}

// wordsOf splits a name at underscores, other signs, and where a capital
// follows a small letter, and folds the words. A digit at the end of a word is dropped.
func wordsOf(name string) []string {
	var b strings.Builder
	before := ' '
	for _, r := range name {
		if unicode.IsUpper(r) && unicode.IsLower(before) {
			b.WriteByte(' ')
		}
		if unicode.IsLetter(r) {
			b.WriteString(fold(unicode.ToLower(r)))
		} else if unicode.IsDigit(r) && unicode.IsLetter(before) {
			b.WriteRune(r)
		} else {
			b.WriteByte(' ')
		}
		before = r
	}
	words := strings.Fields(b.String())
	for i, w := range words {
		if trimmed := strings.TrimRight(w, "0123456789"); trimmed != "" && w != "ipv4" && w != "ipv6" {
			words[i] = trimmed
		}
	}
	return words
}

// fold writes a small letter without its accent.
func fold(r rune) string {
	for plain, accented := range map[string]string{"a": "àáâãåā", "ae": "ä", "c": "çćč", "e": "èéêëē", "i": "ìíîï", "n": "ñ", "o": "òóôõø", "oe": "ö", "ss": "ß", "u": "ùúû", "ue": "ü"} {
		if strings.ContainsRune(accented, r) {
			return plain
		}
	}
	return string(r)
}
