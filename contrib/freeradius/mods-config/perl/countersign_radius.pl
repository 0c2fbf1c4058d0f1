# countersign behind FreeRADIUS, by rlm_perl (docs/gateways/freeradius.md).
#
# Each round of a login starts `countersign serve` for one request. The verdict is what it writes: its exit status may be lost in
# a server with threads, and is not looked at. Nothing is kept here; the State says what a later round needs.

use strict;
use warnings;
use Encode ();
use IO::Select;
use JSON::PP ();
use MIME::Base64 ();
use POSIX ();
use Socket qw(AF_INET AF_INET6 inet_pton);
use Time::HiRes qw(time);

our (%RAD_REQUEST, %RAD_REPLY, %RAD_CHECK, %RAD_PERLCONF);

use constant {REJECT => 0, FAIL => 1, OK => 2, HANDLED => 3};
use constant L_ERR => 4;

my $STATE = qr/\A([A-Za-z0-9_-]{20})\.([A-Za-z0-9_-]+)(?:\.([A-Za-z0-9_-]{1,32}))?\z/;
my %NO_ANSWERS = map { $_ => 1 } qw(gu username password);
my %FAULTS = map { $_ => 1 } qw(communication_error service_unreachable internal_error);
my $JSON = JSON::PP->new->utf8;

sub authenticate {
	my $verdict = eval { verdict(question()) };
	return $verdict if defined $verdict;
	# Whatever it is: nobody is let in by it.
	my ($why) = ($@ || 'unknown') =~ /\A([^\n]*)/;
	radiusd::radlog(L_ERR, "countersign: no verdict: $why");
	return FAIL;
}

# The value of an attribute that may be there once.
sub only {
	my ($name, $list) = @_;
	my $value = $list->{$name};
	die "$name is there twice\n" if ref $value;
	return undef unless defined $value;
	return eval { Encode::decode('UTF-8', $value, Encode::FB_CROAK) } // die "$name is not UTF-8\n";
}

# What is asked, and of which login it is.
sub question {
	my ($site, $first) = map { only($_, \%RAD_CHECK) } qw(Tmp-String-8 Tmp-String-9);
	die "the site has to set Tmp-String-8 and Tmp-String-9\n" unless ($site // '') ne '' && ($first // '') =~ /\A(?:checked|code)\z/;
	my ($user, $password, $state) = map { only($_, \%RAD_REQUEST) } qw(User-Name User-Password State);
	die "no User-Name and User-Password: a code can be read by PAP only\n" unless defined $user && defined $password;
	$password = '' if $password =~ /\A\s*\z/; # Many clients send no empty answer: a blank one is as good.
	my ($login, %request, %answers) = (nonce());
	if (defined $state) {
		my ($of, $cookie, $key) = pack('H*', $state =~ s/\A0x//r) =~ $STATE or die "the State is none that was handed out here\n";
		die "the State is none that was handed out here\n" if $NO_ANSWERS{$key //= 'otp'};
		($login, $answers{$key}, $request{cookie}) = ($of, $password, $cookie);
		# Where a password came first, this cookie is the proof of it: without a good one there is no accept.
		$request{begun} = $first eq 'checked' ? JSON::PP::true : JSON::PP::false;
	}
	elsif ($first eq 'code') {
		$answers{otp} = $password;
	}
	# None of [auth] interactive_protocols: a push is meant.
	$request{protocol} = 'radius' if ($RAD_PERLCONF{ask} // 'yes') eq 'no';
	my $from = only('Calling-Station-Id', \%RAD_REQUEST) // '';
	# Else it is a telephone number or a hardware address.
	$request{client_ip} = $from if inet_pton(AF_INET, $from) || inet_pton(AF_INET6, $from);
	return $login, {
		%request,
		type => 'authenticate',
		id => $login,
		# Of this login alone, of this server, and of this way in: to all of that the cookie is bound.
		session_id => "radius $first $login $site",
		connection_name => only('NAS-Identifier', \%RAD_REQUEST) // only('NAS-IP-Address', \%RAD_REQUEST) // '',
		gateway_user => $user,
		key_value_pairs => \%answers,
		deadline_ms => int(($RAD_PERLCONF{timeout} // 25) * 1000),
	};
}

# By what a login is known.
sub nonce {
	open(my $random, '<:raw', '/dev/urandom') or die "no randomness: $!\n";
	read($random, my $bytes, 15) == 15 or die "no randomness\n";
	return MIME::Base64::encode_base64($bytes, '') =~ tr{+/}{-_}r;
}

# What countersign says, as rlm_perl takes it.
sub verdict {
	my ($login, $request) = @_;
	my $said = eval { $JSON->decode(run($JSON->encode($request) . "\n", $request->{deadline_ms} / 1000 + 1)) };
	die "countersign gave no answer\n" unless ref $said eq 'HASH';
	die "the answer belongs to another request\n" unless $said->{v} == 1 && $said->{id} eq $login;
	if ($said->{verdict} eq 'accept') {
		messages($said->{message} // '');
		return OK;
	}
	if ($said->{verdict} eq 'need_info') {
		my ($asked, $word) = ($said->{question}, "$login.$said->{cookie}");
		$word .= ".$asked->{key}" if $asked->{key} ne 'otp';
		die "the question has a key that no State can carry\n" if $word !~ $STATE || $NO_ANSWERS{$asked->{key}};
		$RAD_REPLY{State} = '0x' . unpack('H*', $word);
		$RAD_REPLY{Prompt} = $asked->{disable_echo} ? 'No-Echo' : 'Echo';
		$RAD_CHECK{'Response-Packet-Type'} = 'Access-Challenge';
		messages($asked->{prompt});
		return HANDLED;
	}
	messages($said->{message});
	return $FAULTS{$said->{error}{class}} ? FAIL : REJECT;
}

# What the program answers to a line. Names and codes go through a pipe: arguments and environment are for others to see.
sub run {
	my ($line, $seconds) = @_;
	my $until = time + $seconds;
	my @command = ($RAD_PERLCONF{program}, 'serve', '--config', $RAD_PERLCONF{plugin_ini});
	pipe(my $in, my $to) && pipe(my $from, my $out) or die "no pipe: $!\n";
	my $child = fork // die "no process: $!\n";
	if ($child == 0) {
		POSIX::dup2(fileno $in, 0);
		POSIX::dup2(fileno $out, 1);
		# The server's sockets are its own.
		POSIX::close($_) for 3 .. 255;
		chdir '/';
		{ no warnings; exec { $command[0] } @command; }
		POSIX::_exit(127);
	}
	close $in;
	close $out;
	syswrite($to, $line);
	close $to;
	my ($answer, $waiting) = ('', IO::Select->new($from));
	while ((my $left = $until - time) > 0) {
		next unless $waiting->can_read($left);
		last unless sysread($from, $answer, 65536, length $answer);
	}
	kill 'KILL', $child if time >= $until;
	waitpid($child, 0);
	return $answer;
}

# The text in as many Reply-Message as it takes: 253 bytes each, cut behind a line or a character.
sub messages {
	my @pieces;
	my $rest = Encode::encode('UTF-8', $_[0]);
	my $length = 0;
	while ($rest ne '') {
		my $piece = substr($rest, 0, 253);
		if ($piece ne $rest) {
			# Not within a character.
			chop $piece while (ord(substr($rest, length $piece, 1)) & 0xc0) == 0x80;
			$piece =~ s/\n\K[^\n]*\z//;
		}
		$rest = substr($rest, length $piece);
		$length += 2 + length $piece;
		last if $length > 3500; # A packet has 4096 bytes.
		push @pieces, $piece;
	}
	$RAD_REPLY{'Reply-Message'} = \@pieces if @pieces;
	return;
}
