"""What the people who run a fabric want of it: settings and rules, in one file."""
