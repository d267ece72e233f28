// Command people keeps participants in LiveKit rooms, made with LiveKit's own SDK for Go, and says what happens to them.
//
// It reads the work list and writes the lines of tests/room_participants.py, which say what they mean, but for `message`.
// That program encodes and decodes the sound of each participant, which takes a core for fourteen of them; this one sends
// and receives packets of the same size and pace, so that a laboratory on two cores can have full rooms.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

const readEvery = 200 * time.Millisecond

// work is the list: how many people each room has. Rooms open on any server.
type work struct {
	URL   string `json:"url"`
	Rooms map[string]struct {
		People int `json:"people"`
	} `json:"rooms"`
}

func main() {
	logger.InitFromConfig(&logger.Config{Level: "warn"}, "people")
	lksdk.SetLogger(logger.GetLogger())
	file, key, secret := os.Getenv("PARTICIPANTS"), os.Getenv("LIVEKIT_API_KEY"), os.Getenv("LIVEKIT_API_SECRET")
	people, read := map[string]*person{}, ""
	for ; ; time.Sleep(readEvery) {
		text, err := os.ReadFile(file)
		if err != nil || string(text) == read {
			continue
		}
		wanted := work{}
		if err := json.Unmarshal(text, &wanted); err != nil {
			fmt.Fprintln(os.Stderr, "people:", err)
			os.Exit(1)
		}
		read = string(text)
		follow(wanted, people, key, secret)
	}
}

func follow(wanted work, people map[string]*person, key, secret string) {
	names := map[string]string{}
	for room, each := range wanted.Rooms {
		for number := range each.People {
			names[room+"-"+strconv.Itoa(number)] = room
		}
	}
	for who, one := range people {
		if _, stays := names[who]; !stays {
			close(one.left)
			delete(people, who)
		}
	}
	for who, room := range names {
		if people[who] == nil {
			people[who] = newPerson(wanted.URL, key, secret, room, who)
			go people[who].stay()
		}
	}
}
