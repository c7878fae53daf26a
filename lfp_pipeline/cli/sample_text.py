"""The words of samples: names, their affixes, and the words of skus and descriptions."""


def _words(text: str) -> list[str]:
    return text.split()


FIRST_NAMES = _words("""
Michael Robert David James John Jennifer Christopher William Jessica Matthew Sarah Daniel Joseph
Lisa Brian Elizabeth Mary Amanda Kevin Jason Thomas Emily Ashley Anthony Laura Mark Andrew Karen
Steven Patricia Richard Linda Kelly Charles Susan Eric Rachel Timothy Nicole Jeffrey Anna Joshua
Maria Paul Katherine Scott Rebecca Stephen Heather Ryan Barbara Gregory Michelle Kenneth Amy Adam
Melissa George Angela Benjamin Stephanie Justin Nancy Patrick Christine Edward Julie Nathan Donna
Aaron Margaret Peter Sandra Samuel Carol Kyle Megan Sean Victoria Jonathan Danielle Alexander Emma
Nicholas Samantha Ronald Hannah Jacob Lauren Frank Tiffany Tyler Crystal Gary Erin Raymond Alice
Dennis Theresa Jerry Diana Keith Monica Zachary Andrea Bradley Kathleen Carlos Cynthia Travis Ruth
Shawn Teresa Douglas Natalie Jesse Julia Dustin Allison Walter Kathryn Henry Denise Derek Brenda
Philip Courtney Joel Sharon Russell Vanessa Vincent Helen Luis Deborah Craig Caroline Arthur April
Marcus Erica Evan Wendy Lucas Leslie Ethan Tina Martin Dawn Albert Carrie Curtis Gina Edwin Holly
Leonard Jill Oscar Paula Roger Robin Stanley Tracy Victor Valerie Wesley Molly Austin Joan Caleb
Grace Dylan Judith Gabriel Claire Harold Lori Ian Sophie Jack Olivia Leo Alan Bruce Calvin Clara
Dale Doris Earl Edith Elena Ellen Felix Fiona Floyd Fred Glenn Gloria Harry Irene Isaac Ivan Jane
Janet Jorge Joyce Karl Kate Lee Lena Lewis Lucy Lydia Mabel Marie Max Miles Nina Noah Nora Norman
Owen Pam Pedro Phoebe Ralph Rosa Rose Ross Roy Ruby Seth Shane Simon Stella Ted Theo Toby Tom Trevor
Una Vera Vernon Wade Wanda Warren Yvonne Zoë José André Chloë René Björn
""")

COMMON_LAST_NAMES = _words("""
Smith Johnson Williams Jones Brown Davis Miller Wilson Moore Taylor Anderson Thomas Jackson White
Harris Martin Thompson Garcia Martinez Robinson Clark Rodriguez Lewis Lee Walker Hall Allen Young
Hernandez King Wright Lopez Hill Scott Green Adams Baker Gonzalez Nelson Carter Mitchell Perez
Roberts Turner Phillips Campbell Parker Evans Edwards Collins Stewart Sanchez Morris Rogers Reed
Cook Morgan Bell Murphy Bailey Rivera Cooper Richardson Cox Howard Ward Torres Peterson Gray Ramirez
Watson Brooks Sanders Price Bennett Wood Barnes Henderson Coleman Jenkins Perry Powell Patterson
Hughes Flores Butler Simmons Foster Bryant Griffin Diaz Hayes Myers Ford Hamilton Graham Sullivan
Wallace Cole West Jordan Owens Reynolds Fisher Ellis Harrison Gibson Cruz Marshall Ortiz Gomez
Murray Freeman Wells Webb Simpson Stevens Tucker Porter Hunter Boyd Mason Kennedy O'Brien O'Connor
Núñez Müller Søndergaard
""")
LAST_NAME_STEMS = _words("""
Ash Black Brad Bright Brook Cald Clay Craw East Elm Fair Gold Gran Hart Hazel Holl Kirk Lang Lock
Mead Mill New Nor Oak Pem Red Rock Ruther Shel Stan Thorn Wake Win
""")
LAST_NAME_ENDINGS = _words("""
bourne bridge bury combe cott croft dale den field ford gate ham hurst land ley man more ridge shaw
son stead stone ton wall way well wick worth
""")
LAST_NAMES = COMMON_LAST_NAMES + [a + b for a in LAST_NAME_STEMS for b in LAST_NAME_ENDINGS]

AFFIXES = [
    ("", ""), ("Dr. ", ""), ("Mr. ", ""), ("Mrs. ", ""), ("Ms. ", ""),
    ("", " MD"), ("", " PhD"), ("", " II"), ("", ", Jr."),
]  # fmt: skip

WORDS = _words("""
able above accept across add afternoon age agree air almost amount anchor animal answer apple area
arm arrive artist ask autumn away bake balance ball band bank basket beach beautiful become bell
bench best better beyond bird blanket blue board boat body book border bottle bowl box branch brave
bread breakfast bridge brief bright bring brown build business button buy cable calm camera candle
capital careful carry castle catch cause center certain chair chance change cheap choice circle city
class clean clear climb clock close cloud coast coat coffee cold color common cook copper corner
cotton country course cover cream crowd culture cup curtain daily dance dark daughter decide deep
depend design desk detail dinner distance doctor door double dream drive early earth east easy edge
effect eight empty energy enjoy enough evening every exact expect eye fabric face family farm fast
feather field figure final find finger fire first flat floor flower follow food forest form fresh
friend front fruit future garden gather gentle gift glad glass gold good government grain grass
great green ground group grow guess guide half hammer hand happy harbor hard harvest hear heart heat
heavy help high hill history hold holiday home honest hope horse hotel hour house human hundred idea
important inside interest iron island item job join journey judge jump keep kettle key kind kitchen
know lamp land language large later laugh lead leaf learn leather leave left lemon lesson letter
level light likely line list little local long look love lunch machine maintain make manage many map
market matter meadow meal measure meet memory metal middle might mile milk mind minute mirror modern
money month moon morning mother motor mountain move music narrow nature near never new next night
nine noise north notebook now number object ocean office often oil old once open orange order other
outside over own page paint pair paper park part party path peace pencil people perhaps picture
piece place plain plan plant plate play pocket point popular power present pretty price print
problem produce promise proud pull purple quality question quick quiet rain raise reach read ready
reason record red remember rest return rice ride right ring river road roof room rope round row run
sail salt same sand scale school science season second see seven shade shape share sharp sheet shelf
ship shoe short show side silver simple since sister size skill sky sleep slow small smile snow soap
society soft some song soon sound soup south space special spoon spring square stage star station
steady steel step still stone store storm story street strong student such sugar summer sun sweet
table take tall taste teach team ten thank thick thing think thousand thread three through ticket
time today together tomorrow tone top touch toward town track trade train travel tree true trust
turn twelve uncle under unit until upon useful valley value very view village visit voice wait walk
wall warm watch water wave weather week west wheel while white whole wide wild window winter wise
with woman wonder wood word work world write yard year yellow yes young
""")
