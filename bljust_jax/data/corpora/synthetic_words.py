"""The words that the sentences of `synthetic_voices` are made of: lower-case letters and apostrophes only."""

FIRST_NAMES = tuple(
    """
    aaron abigail adam adele adrian agnes aidan aisha alan albert alexander alfred alice alison amanda amber amelia
    amy andrew angela anita anna anthony archie arthur astrid audrey barbara barry beatrice benedict bernard bertha
    beth bettina bill blanche boris brenda brian bridget bruce callum camilla carla carol caroline catherine cecil
    celia charles charlotte chloe christian christine claire clara clarence claudia clive colin connor constance
    cora craig cynthia daisy daniel daphne darren deborah deirdre dennis derek diana dominic donald donna doris
    dorothy douglas duncan dylan edgar edith edmund edwin eileen elaine eleanor elijah elizabeth ella ellen elsie
    emily emma eric erica ernest esther ethan eugene eunice eva evelyn faith fatima felicity felix fergus finn fiona
    flora florence frances frank frederick freya gabriel gail gareth gavin gemma geoffrey george georgina gerald
    gilbert gillian gladys gloria gordon grace graham gregory greta gus gwen hamish hannah harold harriet harry
    harvey hazel heather hector helen henry herbert hilary holly howard hubert hugh humphrey ibrahim ida imogen
    ingrid irene iris isaac isabel ivan ivy jack jacob jacqueline jamal james jane janet jasmine jason jasper jean
    jeffrey jennifer jeremy jerome jessica joan joanna joel johanna jonah jonathan joseph josephine joshua joyce
    judith julia julian juliet justin karen kate keith kenneth kevin kieran kirsty kylie lance laura lauren laurence
    leah leila leo leonard leslie lewis liam lilian linda lionel lorna louise lucas lucy luke lydia lynn mabel
    madeleine magnus malcolm marcus margaret maria marian marjorie mark marlene martha martin mary matilda matthew
    maureen maurice max megan melanie melvin meredith mildred miles millicent miranda miriam mohammed moira molly
    monica morgan muriel myra nadia nancy naomi natalie nathan neil nell nicholas nicola nigel nina noah noel nora
    norman olga olive oliver olivia omar oscar otto owen pamela patricia patrick paula pauline penelope percy peter
    petra philip phoebe phyllis polly priya quentin rachel ralph raymond rebecca reginald rhoda richard robin
    roderick roger roland ronald rosa rosemary rowan roy rufus rupert russell ruth sadie sally samantha samuel
    sandra sarah saskia sean sebastian selina selma seth sharon sheila shirley sidney silvia simon sonia sophie
    stanley stella stephen stuart susan suzanne sybil tabitha tamara tara theodore theresa thomas timothy tina
    tobias trevor trudy ursula valerie vanessa vera vernon veronica vincent viola violet virginia vivian wallace
    walter wanda warren wendy wilfred william winifred yasmin yolanda yusuf yvonne zachary zara zoe
    """.split()
)
SURNAMES = tuple(
    """
    abbott adams ahmed ainsworth aldridge allen anderson appleby archer armstrong arnold ashworth atkins austin
    bailey baker baldwin ballard banks barclay barker barlow barnes barrett bartlett barton baxter beaumont beckett
    bennett bentley benson berry beckham bishop blackburn blackwell blake bolton booth bowen boyd bradford bradley
    bradshaw brady brandon brewer briggs bristow brooks broughton browning bryant buchanan buckley burgess burke
    burnett burton butcher byrne caldwell callahan cameron campbell carlisle carmichael carpenter carson carter
    cartwright chadwick chambers chandler chapman chatterjee cheng chisholm christie churchill clarke clayton
    clifford coleman collins connolly conrad cooper corbett cornwell costello coulson crawford crosby cross
    cunningham curtis dalton daniels davenport davidson davies dawson delaney dempsey denham dickson dixon doherty
    donovan doyle drake drummond duckworth dudley duffy duncan dunlop durham eastwood eaton edwards elliott ellis
    emerson evans fairbanks fairfax farmer farrell fawcett ferguson fielding finch findlay fisher fitzgerald fleming
    fletcher flynn forbes forrester forsyth foster fowler franklin fraser freeman frost fuller gallagher galloway
    gardner garland garrett gibbons gibson gifford gilbert gilmore gladstone glover goddard goldberg goodman goodwin
    gould grafton grant greenwood gregson griffin griffiths gupta guthrie hadley haines hamilton hammond hancock
    harding hardy hargreaves harper harrington hartley hastings hathaway hawkins hayward henderson hepburn herring
    hewitt hickman higgins hobson hodges hoffman holland holloway holmes hopkins horton houston hudson hughes
    humphreys huntley hussain hutchinson ingram irving jackson jacobs jarvis jefferson jenkins jennings jensen
    johnson johnston jordan kapoor kaufman kavanagh keating kelleher kendall kennedy kerrigan kingsley kirby
    kirkpatrick knight kowalski lambert lancaster langley larkin larsen lawson leighton lindsay livingstone lockhart
    lombard lowell lyndon macdonald mackay mackenzie maclean madden maguire maitland malone manning mansfield
    marlowe marsden marshall martinez mason masters mathieson maxwell mccarthy mcgregor mckenna mcleod mcpherson
    meadows mercer merrick middleton miller mitchell monroe montgomery moody morris morrison mortimer mulligan
    murdoch murphy nakamura napier nelson newbury newman newton nicholson nightingale nolan norris northcott norton
    nugent o'brien o'connor o'donnell o'hara o'leary o'neill o'sullivan oakley okafor osborne oswald padgett palmer
    parker parsons patel paterson pemberton penrose perkins perry peterson petrov phillips pickering porter potter
    prescott preston pritchard quigley quinn radcliffe rafferty ramsay randall rasmussen rawlings redmond reeves
    reynolds richards richardson riley ripley ritchie roberts robertson robinson rochester rodgers romero rooney
    rosenthal rossi rothwell rowland russo rutherford ryder sanders sanderson saunders sawyer schneider schofield
    schwartz scott seymour shah sharma shaw shelton shepherd sheridan sherwood siddiqui silva simmons simpson
    sinclair singh skinner slater smith snyder somerville spencer stafford stanton steele sterling stevenson stewart
    stokes stratton sutherland sutton swanson sweeney takahashi talbot tanner tate taylor templeton tennant
    thackeray thatcher thompson thornton thorpe tobin townsend travers tucker turnbull turner tyler underwood upton
    vaughan vickers vincent wadsworth wagner wakefield walker walsh walton warner waters watkins watson weaver
    webster wellington wentworth wheeler whitaker whitehead whitfield wilkins wilkinson williams williamson
    willoughby wilson winchester winslow winters woodward wright wyatt yamamoto yates young zhang zimmerman
    """.split()
)
PLACES = tuple(
    """
    aberdeen adelaide alberta amsterdam antwerp arizona arkansas athens atlanta auckland austin baltimore bangkok
    barcelona basel bath beijing belfast bergen berlin birmingham blackpool bologna bombay bordeaux boston bradford
    bratislava bremen brighton brisbane bristol bruges brussels bucharest budapest cairo calcutta calgary california
    cambridge canberra canterbury cardiff carlisle casablanca chelmsford chester chicago cincinnati cleveland
    cologne colombo colorado copenhagen cork cornwall coventry cumbria dallas damascus darlington darwin delhi
    denver derby detroit devon dorset dover dresden dublin dundee durban durham edinburgh essex exeter falkirk
    florence florida frankfurt galway geneva genoa georgia ghent gibraltar glasgow gloucester gothenburg granada
    grimsby guildford hamburg hamilton hanover harrogate hastings havana helsinki hereford hexham hobart honolulu
    houston huddersfield idaho illinois indiana inverness iowa ipswich istanbul jakarta jersey johannesburg kansas
    kendal kent kentucky kilkenny kilmarnock kingston krakow kyoto lancaster leeds leicester leipzig lerwick lima
    limerick lincoln lisbon liverpool london louisiana lucerne luton lyon madrid maine malaga manchester manila
    margate marseille maryland melbourne memphis miami michigan milan minnesota missouri montana montreal moscow
    munich nairobi nantes naples nebraska nevada newcastle newport norfolk northampton norwich nottingham oban ohio
    oklahoma ontario oregon oslo ottawa oxford padua paisley palermo paris penzance perth peterborough philadelphia
    phoenix pittsburgh plymouth porto portsmouth prague preston quebec ramsgate reading reykjavik riga rome
    rotterdam rugby salford salisbury salzburg sarajevo scarborough seattle seoul seville sheffield shetland
    shrewsbury singapore sligo slough sofia southampton southend stafford stirling stockholm stockport stornoway
    strasbourg stratford stuttgart sunderland surrey sussex swansea swindon sydney tallinn taunton tennessee texas
    thurso tokyo toledo toronto torquay toulouse trieste truro tunbridge turin ullapool utah utrecht valencia
    vancouver venice verona vienna vilnius virginia wakefield warsaw warwick washington waterford wellington
    weymouth whitby wigan wiltshire winchester windsor wisconsin wolverhampton worcester wrexham wyoming york
    yorkshire zagreb zurich
    """.split()
)
# Things that are bought, ordered, lost, mended; each makes its plural by rule.
GOODS = tuple(
    """
    adapter album alarm anchor apron armchair atlas axe backpack badge balloon banana bandage banner barrel basin
    basket bathtub battery beaker bell belt bench bicycle biscuit blanket blender blouse board boat bolt book
    bookcase boot bottle bowl bracelet bracket bread brick bridle briefcase broom bucket buckle bulb bun button
    cabinet cable cage cake calculator calendar camera candle canoe canvas cap caravan card carpet carriage carrot
    cart case cassette castle catalogue chain chair chart chest chisel cigar clarinet clip clock cloth coat coin
    collar compass computer cork cot couch counter cradle crate crayon cup cupboard curtain cushion dagger daisy
    desk diamond diary dictionary dish doll door doughnut drawer dress drill drum dryer earring easel egg engine
    envelope fan faucet feather fence fiddle file filter flag flask flower flute folder fork fountain frame freezer
    funnel garment gate glass glove goblet guitar hammer hammock handbag handle harness harp hat heater helmet hinge
    hook hose jacket jar jersey jewel jug kettle key keyboard kite label lace ladder ladle lamp lantern laptop
    leaflet lemon lens letter lever lid lighter lock locket machine magazine magnet map marble mask mat mattress
    medal microphone microscope mirror mitten model monitor mop mower muffin mug nail napkin necklace needle net
    newspaper notebook oar onion orange oven package paddle padlock painting pan pancake panel parachute parcel
    parasol passport patch pebble pedal peg pen pencil pendant pepper phone photograph piano picture pie pillow pipe
    pistol pizza plank plant plate platter plug pocket poster pot printer projector pudding pump puppet purse puzzle
    quilt racket radiator radio raft rake ramp razor receipt record recorder refrigerator ribbon rifle ring robe
    rocket rope rug ruler saddle sail salad sandal sandwich saucepan saucer saw scanner scooter screen screw
    sculpture seat shawl sheet shield ship shirt shoe shovel shower shutter sieve sink skate skirt sledge slipper
    soap sock sofa spade spanner speaker spear spike sponge spoon spring stamp staple statue stereo sticker stool
    stove strap string suit suitcase sweater switch sword table tablet tank tap tape teapot telephone telescope
    television tent thermometer thimble ticket tie tile timer toaster tool toothbrush torch towel tower toy tractor
    trailer tray tripod trophy truck trumpet trunk tube turnip typewriter tyre umbrella uniform vacuum vase vehicle
    veil vest video violin waffle wagon wallet wardrobe washer watch wheel wheelbarrow whistle wig window wire
    wrench yacht zipper
    """.split()
)
FOODS = tuple(
    """
    almond apple apricot artichoke asparagus aubergine avocado bacon barley basil bean beef beetroot blackberry
    blueberry brandy broccoli broth butter buttermilk cabbage caramel cardamom cauliflower caviar celery cheddar
    cheese cherry chestnut chicken chilli chocolate cider cinnamon clove cocoa coconut coffee coriander cranberry
    cream cress cucumber currant curry custard dumpling fennel fig flour garlic gherkin ginger gooseberry grape
    grapefruit gravy haddock halibut hazelnut herring honey horseradish ketchup kipper lamb lasagne leek lentil
    lettuce lime liquorice lobster mackerel mango maple marmalade marzipan mayonnaise melon milk mint mushroom
    mussel mustard mutton noodle nutmeg oatmeal olive oregano oyster paprika parsley parsnip pasta pastry peach
    peanut pear pecan pheasant pickle pineapple pistachio plum pomegranate pork porridge prawn prune pumpkin radish
    raisin raspberry rhubarb rice risotto rosemary saffron sage salmon salt sardine sausage scallop sherry shrimp
    soup soy spaghetti spinach sprout squash stew strawberry sugar sultana syrup tarragon tea thyme toffee trout
    truffle tuna turkey turmeric vanilla veal venison vinegar walnut watercress whisky wine yoghurt
    """.split()
)
ANIMALS = tuple(
    """
    antelope badger bat bear beaver beetle bison blackbird bull butterfly camel canary cat cheetah chicken cobra cow
    crab crane cricket crocodile crow cuckoo dog dolphin donkey dove dragonfly duck eagle elephant falcon ferret
    flamingo fox frog gazelle gerbil giraffe goat gorilla grasshopper gull hamster hare hawk hedgehog hen heron
    horse hyena jackal jaguar kangaroo kingfisher kitten koala lark leopard lion lizard llama lynx magpie mole
    monkey moth mule nightingale octopus ostrich otter owl panda panther parrot partridge peacock pelican penguin
    pig pigeon pony porcupine puffin puppy rabbit raccoon rat raven rhinoceros robin rooster seal shark skunk snail
    snake sparrow spider squirrel stallion starling stork swallow swan tiger toad tortoise toucan turtle vulture
    walrus wasp weasel whale wren zebra
    """.split()
)
JOBS = tuple(
    """
    accountant actor admiral ambassador apprentice architect artist astronomer athlete author baker banker barber
    barrister biologist blacksmith bookseller botanist bricklayer builder butcher butler captain caretaker carpenter
    cashier champion chancellor chemist clerk climber coach cobbler collector colonel comedian composer conductor
    consultant cook counsellor courier critic dancer decorator dentist designer detective diplomat director diver
    doctor driver drummer economist editor electrician engineer farmer fiddler firefighter florist gardener
    geologist glazier goldsmith governor grocer guard guide hairdresser historian housekeeper hunter illustrator
    inspector instructor interpreter inventor investigator janitor jeweller journalist judge juggler knight labourer
    lawyer lecturer librarian lifeguard linguist locksmith magician manager mechanic merchant messenger midwife
    miller miner minister musician navigator novelist nurse officer optician painter pharmacist philosopher
    photographer physician pianist pilot plasterer plumber poet politician porter potter preacher president priest
    printer professor programmer publisher ranger receptionist referee reporter researcher sailor scholar scientist
    sculptor secretary senator sergeant shepherd sheriff shopkeeper singer soldier solicitor student surgeon
    surveyor tailor teacher technician telephonist trader translator treasurer tutor vet violinist waiter warden
    watchmaker weaver wizard writer zoologist
    """.split()
)
SITES = tuple(
    """
    abbey academy airport aquarium arcade arena bakery bank barn beach brewery bridge cafe campsite canal castle
    cathedral cave cemetery chapel church cinema clinic college corner cottage courthouse crossroads dairy dentist
    dock embassy factory farm farmhouse ferry fountain gallery garage garden greenhouse gymnasium harbour hospital
    hostel hotel inn island junction laboratory lake laundry library lighthouse lodge mansion market meadow mill
    monastery monument mosque museum nursery observatory office orchard palace park pavilion pharmacy pier
    playground pond port quarry quay refinery reservoir restaurant river roundabout ruin school seminary shelter
    shipyard shop square stable stadium station studio supermarket surgery swamp synagogue tavern temple terminal
    theatre tower tunnel university valley viaduct village warehouse waterfall windmill workshop zoo
    """.split()
)
ADJECTIVES = tuple(
    """
    abrupt absurd accurate ancient anxious awkward bitter blunt bold brief bright broad calm careful cautious
    charming cheap cheerful clean clever clumsy comfortable common complete cosy crooked cruel curious damp dark
    dear deep delicate delicious dense different dirty distant dreadful dull durable eager elegant elaborate empty
    enormous exact excellent expensive faint faithful famous fancy fierce firm flexible foolish foreign fragile
    frequent fresh friendly frozen gentle genuine gloomy gorgeous graceful grand grateful greedy handsome harsh
    heavy hollow honest humble hungry icy ideal immense impatient jolly keen large lazy light limited lively lonely
    long loose loud lovely loyal lucky magnificent massive mellow merry mighty mild modern modest muddy narrow nasty
    neat nervous new noble noisy odd ordinary pale patient peculiar perfect plain pleasant polite poor popular
    powerful precious pretty proper proud pure quaint quick quiet rapid rare reliable remarkable rich ripe rough
    round royal rude rusty sacred secret sensible separate serious severe shallow sharp shiny short shy silent silly
    simple sincere sleepy slender slight slow smart smooth soft solid sour spare special splendid square steady
    steep sticky stiff straight strange strict strong stubborn sturdy sudden superb sweet swift tender thick thin
    thorough tidy tiny tough tranquil typical ugly unusual urgent useful usual vague valuable various vast vivid
    warm weak wealthy weary wicked wide wild wise wonderful wooden worthy young
    """.split()
)
COLOURS = tuple(
    """
    amber aquamarine beige black blue bronze brown burgundy charcoal copper cream crimson emerald golden green grey
    indigo ivory khaki lavender lilac magenta maroon mauve navy ochre olive orange peach pink plum purple red ruby
    rust sapphire scarlet silver tan tangerine teal turquoise violet white yellow
    """.split()
)
MATERIALS = tuple(
    """
    aluminium bamboo brass canvas cardboard cashmere cedar ceramic chrome clay concrete copper cotton crystal denim
    ebony felt fibre flannel glass granite iron lace leather linen mahogany marble metal nylon oak paper pewter pine
    plaster plastic porcelain rubber satin silk slate steel stone suede timber tin titanium tweed velvet walnut
    wicker willow wool
    """.split()
)
# Verbs whose forms follow by rule from the last letter; each takes a thing as its object.
VERBS = tuple(
    """
    abandon accept admire adjust adore announce appreciate approve arrange assemble attach avoid bake balance borrow
    calculate cancel carve catalogue change check clean climb close collect colour compare complain compose conceal
    confirm connect consider construct copy correct count cover create damage decorate deliver demand demolish
    describe deserve design destroy detect develop discover discuss display divide donate double earn empty enjoy
    examine exchange expect explain explore export fasten fetch finish fold follow forward gather guard handle help
    hire identify ignore imagine import improve include inherit inspect install introduce investigate invite iron
    launch lift load locate lock lower maintain manage manufacture mark measure mend mention mix move name notice
    obtain offer open operate order organise pack paint photograph place plant polish postpone praise prepare
    present preserve press print produce promise protect provide pull purchase push raise reach receive recommend
    recover recycle refuse register release remember remove rent repair replace report request rescue reserve
    restore return review reward sample scratch search select separate serve share sharpen smell solve sort sponsor
    store study suggest supply support surround switch test touch trace trade transport treasure unload unlock
    unpack update use visit want warm wash watch weigh welcome
    """.split()
)
TRANSPORT = tuple(
    """
    aeroplane ambulance balloon barge bicycle boat bus cab canoe caravan coach cruiser express ferry freighter
    glider helicopter jeep kayak limousine locomotive lorry minibus moped motorcar motorcycle plane rowboat sailboat
    scooter ship shuttle sleigh steamer submarine tandem tanker taxi tractor train tram trolleybus truck tug van
    yacht
    """.split()
)
TOPICS = tuple(
    """
    accident account agreement algebra archaeology architecture argument arrival astronomy attitude auction audience
    ballad baptism beauty behaviour biography biology birthday blessing budget business calendar career celebration
    century ceremony challenge chapter charity chemistry childhood choir climate comedy comfort commerce competition
    complaint concert conference confidence contract conversation courage crime culture curiosity customer danger
    debate decision delay democracy departure diet disaster disease drama dream duty economy education election
    electricity emergency energy engagement enterprise environment equation evidence exhibition expedition
    experience experiment failure fashion festival fortune freedom friendship funeral future geography geology
    geometry gossip government grammar happiness harvest health history hobby holiday homework honesty hunger idea
    illness industry influence injury inquiry insurance interview invention investment journey justice kindness
    knowledge landscape language laughter lecture legend leisure lesson literature luck luggage luxury magic
    mathematics medicine meeting melody memory message mistake mortgage music mystery nation nature negotiation
    neighbour opera opinion opportunity orchestra pain parade patience payment peace pension performance permission
    philosophy physics poetry politics pollution population poverty prediction prescription price pride prison
    privacy problem programme progress property proposal proverb psychology punishment quality quarrel question
    rainfall rebellion recipe recording reform religion research revenge revolution reward rhythm rumour safety
    salary scenery science season secret security sermon silence skill society solution sorrow speech statistics
    story strategy strike subject success surprise symphony talent taxation technology temperature theory tourism
    tradition tragedy treatment trouble truth vacation victory violence vocabulary voyage warfare weather wedding
    welfare wisdom wonder
    """.split()
)
MONTHS = 'january february march april may june july august september october november december'.split()
WEEKDAYS = 'monday tuesday wednesday thursday friday saturday sunday'.split()
FAMILY = (
    'aunt brother cousin daughter father grandfather grandmother husband mother nephew niece sister son uncle wife'
).split()
# As pilots spell.
SPELLING = tuple(
    """
    alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa quebec romeo
    sierra tango uniform victor whiskey xavier yankee zulu
    """.split()
)
UNITS = 'one two three four five six seven eight nine'.split()
TEENS = 'ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'.split()
TENS = 'twenty thirty forty fifty sixty seventy eighty ninety'.split()
LOW_ORDINALS = 'first second third fourth fifth sixth seventh eighth ninth'.split()
TEEN_ORDINALS = (
    'tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth'
).split()
