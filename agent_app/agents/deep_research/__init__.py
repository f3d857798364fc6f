"""Deep research: a question goes in, a report whose quotes were checked comes out."""
