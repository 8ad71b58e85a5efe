package seal

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func newKeyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.key")
	if err := CreateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSealedTextOpensWithTheSameKeyOnly(t *testing.T) {
	mine, other := newKeyFile(t), newKeyFile(t)
	for _, secret := range []string{"", "pk_1.abc", strings.Repeat("ü}\x00", 1000)} {
		sealed, err := Seal(mine, secret)
		if err != nil {
			t.Fatal(err)
		}
		if len(secret) > 3 && strings.Contains(sealed, secret) {
			t.Fatal("the sealed text shows the secret")
		}
		if got, err := Unseal(mine, sealed); err != nil || got != secret {
			t.Fatalf("unseal: %q, %v", got, err)
		}
		if _, err := Unseal(other, sealed); !errors.Is(err, ErrWrongKey) {
			t.Fatalf("another key: %v", err)
		}
		again, err := Seal(mine, secret)
		if err != nil || again == sealed {
			t.Fatalf("two seals of one secret are equal (%v)", err)
		}
	}
}

func TestChangedTextIsRefused(t *testing.T) {
	key, err := NewKey(bytes.Repeat([]byte{7}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := key.Seal([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		changed := []byte(sealed)
		changed[i] ^= 1
		if secret, err := key.Unseal(string(changed)); err == nil {
			t.Fatalf("byte %d changed, still opens as %q", i, secret)
		}
	}
	for _, text := range []string{"", "v1:", "v1:AAAA", "secret", sealed[:len(sealed)-4], sealed + "\n"} {
		if _, err := key.Unseal(text); err == nil && text != sealed+"\n" {
			t.Errorf("%q opens", text)
		}
	}
}

func TestKeyFiles(t *testing.T) {
	path := newKeyFile(t)
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
	if err := CreateKeyFile(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an existing key was replaced: %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeyFile(path); err == nil || !strings.Contains(err.Error(), "0600") {
		t.Errorf("world-readable key: %v", err)
	}
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeyFile(short); err == nil {
		t.Error("a short key was taken")
	}
	if _, err := ReadKeyFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing key: %v", err)
	}
}

func TestDerivedKeysDifferByLabelAndKey(t *testing.T) {
	one, err := NewKey(bytes.Repeat([]byte{1}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	two, err := NewKey(bytes.Repeat([]byte{2}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	a := one.Derive("a")
	if len(a) != 32 || !bytes.Equal(a, one.Derive("a")) || bytes.Equal(a, one.Derive("b")) || bytes.Equal(a, two.Derive("a")) {
		t.Errorf("%x", a)
	}
}
