"""What is stored: a cell's result file, and the curves that papers print."""
