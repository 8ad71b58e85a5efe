package classify

import (
	"strconv"
	"strings"
)

// digitsOf returns the digits of s if nothing but digits and the given
// separators is in it.
func digitsOf(s, separators string) (string, bool) {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9':
			b.WriteRune(r)
		case !strings.ContainsRune(separators, r):
			return "", false
		}
	}
	return b.String(), b.Len() > 0
}

func digit(s string, i int) int { return int(s[i] - '0') }

// luhn is the check of payment cards (ISO/IEC 7812-1).
func luhn(digits string) bool {
	sum := 0
	for i := range len(digits) {
		d := digit(digits, len(digits)-1-i)
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// weighted is the sum of digits times weights, modulo m.
func weighted(digits string, m int, weights ...int) int {
	sum := 0
	for i, w := range weights {
		sum += digit(digits, i) * w
	}
	return sum % m
}

// isCard knows the prefixes and lengths of the card networks.
func isCard(s string) bool {
	d, ok := digitsOf(s, " -")
	if !ok || len(d) < 13 || len(d) > 19 || !luhn(d) {
		return false
	}
	two, _ := strconv.Atoi(d[:2])
	four, _ := strconv.Atoi(d[:4])
	switch n := len(d); {
	case d[0] == '4':
		return n == 13 || n == 16 || n == 19
	case two >= 51 && two <= 55, four >= 2221 && four <= 2720:
		return n == 16
	case two == 34 || two == 37:
		return n == 15
	case two == 36 || two == 38 || four >= 3000 && four <= 3059:
		return n >= 14
	case four == 6011, two == 65, two == 62, four >= 3528 && four <= 3589:
		return n >= 16
	case two == 50 || two >= 56 && two <= 58 || two == 63 || two == 67:
		return n >= 13
	}
	return false
}

// ibanLengths are the lengths by country, of the IBAN registry.
var ibanLengths = map[string]int{"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28,
	"CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21,
	"HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MD": 24,
	"ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24,
	"SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20}

// isIBAN checks country, length and ISO 7064 modulo 97.
func isIBAN(s string) bool {
	s = strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(s))
	if len(s) < 15 || ibanLengths[s[:2]] != len(s) {
		return false
	}
	rest := 0
	for _, r := range s[4:] + s[:4] {
		switch {
		case r >= '0' && r <= '9':
			rest = (rest*10 + int(r-'0')) % 97
		case r >= 'A' && r <= 'Z':
			rest = (rest*100 + int(r-'A') + 10) % 97
		default:
			return false
		}
	}
	return rest == 1
}

// isSSN knows what numbers the United States never gave out; there is no check
// digit, so the hyphens are asked for.
func isSSN(s string) bool {
	if len(s) != 11 || s[3] != '-' || s[6] != '-' {
		return false
	}
	d, ok := digitsOf(s, "-")
	return ok && len(d) == 9 && d[:3] != "000" && d[:3] != "666" && d[0] != '9' && d[3:5] != "00" && d[5:] != "0000"
}

// isGermanTaxID is ISO 7064 MOD 11,10 over eleven digits; a digit repeats
// among the first ten, and not all do.
func isGermanTaxID(s string) bool {
	d, ok := digitsOf(s, " ")
	if !ok || len(d) != 11 || d[0] == '0' {
		return false
	}
	var seen [10]int
	product := 10
	for i := range 10 {
		seen[digit(d, i)]++
		sum := (digit(d, i) + product) % 10
		if sum == 0 {
			sum = 10
		}
		product = sum * 2 % 11
	}
	missing := 0
	for _, n := range seen {
		if n > 3 {
			return false
		}
		if n == 0 {
			missing++
		}
	}
	check := 11 - product
	if check == 10 {
		check = 0
	}
	return missing >= 1 && missing <= 2 && check == digit(d, 10)
}

// isFrenchNIR is the number of the French social security: key modulo 97.
func isFrenchNIR(s string) bool {
	s = strings.ToUpper(strings.ReplaceAll(s, " ", ""))
	if len(s) != 15 || s[0] < '1' || s[0] > '4' && s[0] != '7' && s[0] != '8' {
		return false
	}
	body := s[:13]
	if department := strings.NewReplacer("2A", "19", "2B", "18").Replace(body[5:7]); department != body[5:7] { // Corsica
		body = body[:5] + department + body[7:]
	}
	n, err := strconv.ParseInt(body, 10, 64)
	key, err2 := strconv.ParseInt(s[13:], 10, 64)
	return err == nil && err2 == nil && 97-n%97 == key
}

// isSpanishID is a DNI or NIE: eight digits and a letter modulo 23.
func isSpanishID(s string) bool {
	s = strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(s))
	if len(s) != 9 {
		return false
	}
	digits := strings.NewReplacer("X", "0", "Y", "1", "Z", "2").Replace(s[:1]) + s[1:8]
	n, err := strconv.Atoi(digits)
	return err == nil && digits[0] >= '0' && digits[0] <= '9' && "TRWAGMYFPDXBNJZSQVHLCKE"[n%23] == s[8]
}

// isCodiceFiscale is the Italian one: fifteen signs and a check letter.
func isCodiceFiscale(s string) bool {
	s = strings.ToUpper(strings.TrimSpace(s))
	if len(s) != 16 {
		return false
	}
	const form = "LLLLLLDDLDDLDDD" // letters and digits
	odd := [...]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
	sum := 0
	for i := range 15 {
		var v int
		switch c := s[i]; {
		case c >= 'A' && c <= 'Z' && form[i] == 'L':
			v = int(c - 'A')
		case c >= '0' && c <= '9' && form[i] == 'D':
			v = int(c - '0')
		default:
			return false
		}
		if i%2 == 0 {
			v = odd[v]
		}
		sum += v
	}
	return s[15] == byte('A'+sum%26)
}

// isDutchBSN is the elfproef.
func isDutchBSN(s string) bool {
	d, ok := digitsOf(s, ". ")
	return ok && len(d) == 9 && d != "000000000" && weighted(d, 11, 9, 8, 7, 6, 5, 4, 3, 2, -1) == 0
}

// isPESEL is the Polish number; its digits three and four hold month and century.
func isPESEL(s string) bool {
	d, ok := digitsOf(s, "")
	if !ok || len(d) != 11 {
		return false
	}
	month, _ := strconv.Atoi(d[2:4])
	day, _ := strconv.Atoi(d[4:6])
	return month%20 >= 1 && month%20 <= 12 && day >= 1 && day <= 31 && weighted(d, 10, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1) == 0
}

// isCPF is the Brazilian number with its two check digits.
func isCPF(s string) bool {
	d, ok := digitsOf(s, ".-")
	if !ok || len(d) != 11 || strings.Count(d, d[:1]) == 11 {
		return false
	}
	check := func(sum int) int { return sum * 10 % 11 % 10 }
	return check(weighted(d, 1<<30, 10, 9, 8, 7, 6, 5, 4, 3, 2)) == digit(d, 9) &&
		check(weighted(d, 1<<30, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) == digit(d, 10)
}

// isAHV is the Swiss number: an EAN-13 of the country 756.
func isAHV(s string) bool {
	d, ok := digitsOf(s, ".")
	return ok && len(d) == 13 && strings.HasPrefix(d, "756") && weighted(d, 10, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1) == 0
}
