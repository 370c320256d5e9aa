// Adds the numbers of a task: a WASI command, with nothing but Go's own library.
package main

import (
	"encoding/json"
	"log"
	"os"
)

func main() {
	var task struct {
		Numbers []int `json:"numbers"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&task); err != nil {
		// Standard error is kept for people, and the exit code fails the task.
		log.Fatal(err)
	}
	sum := 0
	for _, number := range task.Numbers {
		sum += number
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]int{"sum": sum}); err != nil {
		log.Fatal(err)
	}
}
