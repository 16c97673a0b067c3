// A session check as a Go program has it: net/http with gorilla/securecookie, which decrypts the
// cookie, verifies its MAC and its age, and names the user in the same headers as Gatehouse.
//
// It is written as the library's documentation shows: with a hash key and a block key, and with its
// own serializer (gob). It looks nothing up among revocations. With -raw the content is bytes in a
// fixed layout, without a serializer, which is as fast as the library goes.
package main

import (
	"crypto/aes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
)

// The same name as Gatehouse's, so that the requests differ in nothing but the token.
const cookieName = "__Host-gatehouse"

const lifetime = 24 * time.Hour

// claims is what Gatehouse's say too.
type claims struct {
	Session, User [16]byte
	Authenticated int64
	Username      string
}

func makeClaims(username string) claims {
	made := claims{Authenticated: time.Now().Unix(), Username: username}
	random(made.Session[:])
	random(made.User[:])
	return made
}

const fixedBytes = 40

// raw is the fixed layout: session id 16, user id 16, authenticated 8, username.
func (c claims) raw() []byte {
	bytes := append(append([]byte{}, c.Session[:]...), c.User[:]...)
	bytes = binary.BigEndian.AppendUint64(bytes, uint64(c.Authenticated))
	return append(bytes, c.Username...)
}

func readRaw(bytes []byte) (c claims, ok bool) {
	if len(bytes) <= fixedBytes {
		return c, false
	}
	copy(c.Session[:], bytes)
	copy(c.User[:], bytes[16:])
	c.Authenticated = int64(binary.BigEndian.Uint64(bytes[32:]))
	c.Username = string(bytes[fixedBytes:])
	return c, true
}

func random(bytes []byte) {
	if _, err := rand.Read(bytes); err != nil {
		log.Fatal(err)
	}
}

func open(codec *securecookie.SecureCookie, value string, isRaw bool) (c claims, ok bool) {
	if isRaw {
		var bytes []byte
		if codec.Decode(cookieName, value, &bytes) != nil {
			return c, false
		}
		return readRaw(bytes)
	}
	err := codec.Decode(cookieName, value, &c)
	return c, err == nil
}

func check(codec *securecookie.SecureCookie, isRaw bool) http.HandlerFunc {
	return func(writer http.ResponseWriter, request *http.Request) {
		var session claims
		cookie, err := request.Cookie(cookieName)
		ok := err == nil
		if ok {
			session, ok = open(codec, cookie.Value, isRaw)
		}
		header := writer.Header()
		header.Set("Cache-Control", "no-store")
		if !ok {
			writer.WriteHeader(http.StatusUnauthorized)
			return
		}
		header.Set("X-Auth-User", hex.EncodeToString(session.User[:]))
		header.Set("X-Auth-Username", session.Username)
		header.Set("X-Auth-Session", hex.EncodeToString(session.Session[:]))
		header.Set("X-Auth-Time", strconv.FormatInt(session.Authenticated, 10))
		header.Set("X-Auth-Methods", "")
		header.Set("X-Auth-Level", "1")
		header.Set("X-Auth-Actor", "")
		header.Set("X-Auth-Reason", "")
		writer.WriteHeader(http.StatusOK)
	}
}

// expired gives a good cookie an old time, and signs it anew. The library signs
// name|time|value, and writes time|value|MAC in base64.
func expired(good string, hashKey []byte) (string, error) {
	bytes, err := base64.URLEncoding.DecodeString(good)
	if err != nil {
		return "", err
	}
	parts := strings.SplitN(string(bytes), "|", 3)
	if len(parts) != 3 {
		return "", fmt.Errorf("a cookie of another form")
	}
	old := time.Now().Add(-2 * lifetime).Unix()
	signed := fmt.Sprintf("%s|%d|%s", cookieName, old, parts[1])
	mac := hmac.New(sha256.New, hashKey)
	mac.Write([]byte(signed))
	cookie := fmt.Sprintf("%d|%s|%s", old, parts[1], mac.Sum(nil))
	return base64.URLEncoding.EncodeToString([]byte(cookie)), nil
}

// flipped changes one character in the middle.
func flipped(good string) string {
	bytes := []byte(good)
	middle := len(bytes) / 2
	if bytes[middle] == 'A' {
		bytes[middle] = 'B'
	} else {
		bytes[middle] = 'A'
	}
	return string(bytes)
}

func main() {
	listen := flag.String("listen", "", "address and port")
	count := flag.Int("count", 1, "how many good cookies")
	file := flag.String("cookies", "", "where to write them, with the status that each must get")
	isRaw := flag.Bool("raw", false, "bytes in a fixed layout instead of the library's serializer")
	flag.Parse()

	hashKey, blockKey := make([]byte, 64), make([]byte, 32)
	random(hashKey)
	random(blockKey)
	codec := securecookie.New(hashKey, blockKey)
	codec.BlockFunc(aes.NewCipher)
	if *isRaw {
		codec.SetSerializer(securecookie.NopEncoder{})
	}
	codec.MaxAge(int(lifetime.Seconds()))

	var lines strings.Builder
	var good string
	for index := 0; index < *count; index++ {
		made := makeClaims(fmt.Sprintf("bench-user-%d", index%10))
		var content any = made
		if *isRaw {
			content = made.raw()
		}
		cookie, err := codec.Encode(cookieName, content)
		if err != nil {
			log.Fatal(err)
		}
		good = cookie
		fmt.Fprintf(&lines, "200 %s\n", good)
	}
	old, err := expired(good, hashKey)
	if err != nil {
		log.Fatal(err)
	}
	// The last two are not for the load: they show that it validates.
	fmt.Fprintf(&lines, "401 %s\n401 %s\n", flipped(good), old)
	if err := os.WriteFile(*file, []byte(lines.String()), 0o600); err != nil {
		log.Fatal(err)
	}

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/check", check(codec, *isRaw))
	log.Fatal(http.Serve(listener, nil))
}
