"""What Telestage costs, beside what the same costs without it: `make bench`."""
