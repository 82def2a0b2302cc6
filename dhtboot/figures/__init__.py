"""The figures of thesis chapter 2, each from fresh runs of the shipped protocols."""
