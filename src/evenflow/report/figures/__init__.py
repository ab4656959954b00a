"""The figures of a report: data in, a chart out."""
